"""What nobody can answer without a GPU: does code for sm_90a load, does graph capture work, what does a launch cost."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_parts.timing import host_seconds, seconds
from netspec.contract.naming import Argument, argument
from netspec.device.base import Device
from netspec.kernels.lookup import find_kernel
from netspec.planning.plan import Pass

MICRO = 1e6
X, Y = Argument("x"), Argument("y")


def architecture(device: Device) -> dict[str, Any]:
    """Whether a plain kernel computes, for which target it was compiled, and whether one with a wgmma fence runs.

    That instruction exists for sm_90a alone: neither plain sm_90 nor another generation takes it.
    """
    from netspec.kernels.cuda import compile_cuda

    values = np.linspace(-1, 1, 1000, dtype=np.float32)
    x, y = _put(device, values), device.empty(values.shape, "float32")
    device.bind([_relu(1000)], {X: x, Y: y})()
    right = bool(np.array_equal(device.download(y), np.maximum(values, 0)))
    dispatcher = compile_cuda(find_kernel("relu:forward_cuda").function, "float32", None, 0)
    kernels = getattr(dispatcher, "overloads", {}).values()
    texts = [kernel._codelibrary.get_asm_str() for kernel in kernels]
    targets = sorted({line.split()[1] for text in texts for line in text.splitlines() if line.startswith(".target")})
    plain = f"{', '.join(targets) or 'no PTX'} {'loads and computes' if right else 'gives WRONG RESULTS'}"
    try:
        hopper = "runs" if _runs(hopper_kernel()) else "gives WRONG RESULTS"
    except Exception as error:
        hopper = f"is refused ({type(error).__name__}: {str(error)[:200]})"
    return {"answer": f"{plain}; an instruction of sm_90a alone {hopper}"}


def hopper_kernel() -> Any:
    """A kernel, not compiled yet, that writes ones behind a fence of Hopper's matrix unit."""
    from llvmlite import ir
    from numba import cuda
    from numba.cuda import types
    from numba.cuda.extending import intrinsic

    @intrinsic  # type: ignore[misc]
    def fence(typing_context):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            text = ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), "wgmma.fence.sync.aligned;", "", side_effect=True)
            builder.call(text, [])
            return context.get_dummy_value()

        return types.void(), generate

    def kernel(out):  # type: ignore[no-untyped-def]
        fence()
        out[cuda.threadIdx.x] = 1

    return kernel


def _runs(kernel: Any) -> bool:
    from numba import cuda

    out = cuda.to_device(np.zeros(128, np.float32))
    cuda.jit(kernel)[1, 128](out)
    return bool((out.copy_to_host() == 1).all())


def graphs(device: Device) -> dict[str, Any]:
    """A captured kernel and copy replayed on new values, and seconds a kernel in a replayed graph of 100."""
    values = np.arange(-500, 500, dtype=np.float32)
    x, y, z = _put(device, values), device.empty(values.shape, "float32"), device.empty(values.shape, "float32")
    call, copy = device.bind([_relu(1000)], {X: x, Y: y}), device.copier(z, y, device, "copy")
    forked, joined = device.event(), device.event()

    def both() -> None:
        call()
        device.record(forked, "compute")
        device.wait(forked, "copy")
        copy()
        device.record(joined, "copy")
        device.wait(joined, "compute")

    both()
    device.synchronise()
    replay = device.capture(both)
    device.upload(x, -values)
    replay()
    right = bool(np.array_equal(device.download(z), np.maximum(-values, 0)))
    each = seconds(device, call)
    answer = f"{'works' if right else 'WRONG RESULT'}; {each * MICRO:.2f} us a small kernel in a replayed graph"
    return {"answer": answer, "right": right, "kernel_in_graph_us": each * MICRO}


def launches(device: Device) -> dict[str, Any]:
    """Microseconds of the host for one launch of a bound step, by the number of array arguments."""
    arguments = (X, Y, Argument("y", "gradient"), Argument("x", "gradient"))
    arrays = {one: _put(device, np.ones(1000, np.float32)) for one in arguments}
    two = host_seconds(device, device.bind([_relu(1000)], arrays)) * MICRO
    three = host_seconds(device, device.bind([_relu(1000, backward=True)], arrays)) * MICRO
    event = device.event()
    mark = host_seconds(device, lambda: device.record(event, "compute")) * MICRO
    copy = host_seconds(device, device.copier(arrays[Y], arrays[X], device, "copy")) * MICRO
    answer = f"{two:.1f} us with two arrays, {three:.1f} us with three; event {mark:.1f} us, copy {copy:.1f} us"
    return {"answer": answer, "two_arrays_us": two, "three_arrays_us": three, "event_us": mark, "copy_us": copy}


def iteration(found: dict[str, Any]) -> dict[str, Any]:
    """Whether a whole iteration was captured as a graph, and what the host adds to it."""
    how = (
        "replayed as a graph" if found["captured"] else f"NOT captured: {'; '.join(found['news']) or 'no reason given'}"
    )
    alone = found["us_of_the_host_alone"]
    host = f"{alone:.0f} us" if alone is not None else "unknown"
    return {**found, "answer": f"{how}; the host adds {host}, its call takes {found['us_of_start']:.0f} us"}


def ceilings(device: Device) -> dict[str, Any]:
    """Bytes a second of copies on the card (read and written counted) and from page-locked memory, GB/s."""
    count = 1 << 28
    x, y = device.empty((count,), "float32"), device.empty((count,), "float32")
    device.upload(x, np.ones(count, np.float32))
    copied = 2 * 4 * count / seconds(device, device.copier(y, x, device, "compute"))
    staged = device.staging((1 << 26,), "float32")
    staged[:] = 1
    sent = staged.nbytes / seconds(device, device.copier(device.slice(y, 0, 0, 1 << 26), staged, None, "compute"))
    answer = f"a copy moves {copied / 1e9:,.0f} GB/s, from page-locked memory {sent / 1e9:,.1f} GB/s"
    return {"answer": answer, "copy_GBs": copied / 1e9, "host_to_device_GBs": sent / 1e9}


def _put(device: Device, values: np.ndarray[Any, Any]) -> Any:
    array = device.empty(values.shape, str(values.dtype))
    device.upload(array, values)
    return array


def _relu(size: int, backward: bool = False) -> Pass:
    name = "relu:backward_cuda" if backward else "relu:forward_cuda"
    kernel = find_kernel(name)
    assert isinstance(kernel.threads, int)
    return Pass(
        kernel=name,
        variant=kernel.variant,
        args=tuple((name, argument(name, "xy")) for name in kernel.args),
        scalars={},
        writes=tuple(filter(None, (argument(name, "xy") for name in kernel.writes))),
        extent=size,
        block=size,
        grid=(-(-size // (kernel.threads * kernel.per_thread)),),
        threads=(kernel.threads,),
        flat=(),
        per_member=(),
        host=False,
        dtype="float32",
    )
