"""A stand-in for the CUDA driver's copies: device memory is host memory, and work is done when it is enqueued."""

from __future__ import annotations

import ctypes


def stand_in(monkeypatch):
    """Replace the driver's copies; gives the list into which their names go, in order."""
    from cuda.bindings import driver as cu

    names, done = [], (cu.CUresult.CUDA_SUCCESS,)

    def linear(name, target, source, nbytes, stream):
        names.append(name)
        ctypes.memmove(target, source, nbytes)
        return done

    def rows(copy, stream):
        names.append("2D")
        host = cu.CUmemorytype.CU_MEMORYTYPE_HOST
        target = copy.dstHost if copy.dstMemoryType == host else int(copy.dstDevice)
        source = copy.srcHost if copy.srcMemoryType == host else int(copy.srcDevice)
        for row in range(copy.Height):
            ctypes.memmove(target + row * copy.dstPitch, source + row * copy.srcPitch, copy.WidthInBytes)
        return done

    for name in ("", "HtoD", "DtoH"):
        monkeypatch.setattr(cu, f"cuMemcpy{name}Async", lambda *args, name=name: linear(name, *args))
    monkeypatch.setattr(cu, "cuMemcpy2DAsync", rows)
    return names


def stand_in_kernels(monkeypatch, launched):
    """A compiler whose kernels do nothing; ``launched`` is called with CUlaunchConfig and the arguments' addresses.

    Gives the list of what it was asked to compile: the types of arguments, and the threads of a block.
    """
    from types import SimpleNamespace

    from cuda.bindings import driver as cu

    from netspec.device.cuda import device

    compiled, done = [], cu.CUresult.CUDA_SUCCESS
    function = SimpleNamespace(handle=cu.CUkernel(1), device=SimpleNamespace(id=0))
    library = SimpleNamespace(get_cufunc=lambda: function)
    kernel = SimpleNamespace(bind=lambda: None, _codelibrary=library, cooperative=False)

    class Dispatcher:
        _cache = None

        def __init__(self, bound):
            self.bound, self.known = bound, set()

        def compile(self, types):
            if types not in self.known:
                compiled.append(([str(one) for one in types], self.bound))
            self.known.add(types)
            return kernel

    def launch(config, entry, places, extra):
        launched(config, places)
        return (done,)

    monkeypatch.setattr(cu, "cuKernelGetFunction", lambda kernel: (done, cu.CUfunction(2)))
    monkeypatch.setattr(cu, "cuKernelGetAttribute", lambda *_: (done, 48 << 10))
    monkeypatch.setattr(cu, "cuLaunchKernelEx", launch)
    monkeypatch.setattr(device, "compile_cuda", lambda function, dtype, tails, bound: Dispatcher(bound))
    return compiled


class Numbered:
    """A stream or an event of numba's, known by a number."""

    def __init__(self, handle):
        self.handle = handle

    def __int__(self):
        return self.handle

    def synchronize(self):
        pass


def stand_in_cards(monkeypatch, count=1):
    """Cards on which nothing is computed, for CudaDevice and a Session; gives the list of driver calls, in order.

    Events have come when they are recorded; reports and verdicts are zeros, so no iteration is finite.
    """
    from contextlib import nullcontext
    from types import SimpleNamespace

    import numpy as np
    from cuda.bindings import driver as cu
    from numba.cuda.cudadrv import devicearray, devices
    from numba.cuda.cudadrv.driver import MemoryPointer

    from netspec.device import binding
    from netspec.device.cuda import device
    from netspec.device.gpus import Gpu
    from netspec.kernels import numba_cuda
    from netspec.runners.execution import memory_check as memory

    done, held, numbers = cu.CUresult.CUDA_SUCCESS, [], iter(range(100, 10**6))
    calls = stand_in(monkeypatch)

    def called(name, *values):
        def call(*args):
            calls.append(name.removeprefix("cu"))
            return (done, *values)

        return call

    for name in ("cuCtxPushCurrent", "cuCtxPopCurrent", "cuEventRecord", "cuStreamWaitEvent", "cuEventQuery"):
        monkeypatch.setattr(cu, name, called(name))
    for name in ("cuStreamBeginCapture", "cuGraphDestroy", "cuGraphLaunch", "cuGraphExecDestroy"):
        monkeypatch.setattr(cu, name, called(name))
    for name, value in {"cuStreamEndCapture": 1, "cuGraphInstantiate": 2, "cuEventElapsedTime": 0.5}.items():
        monkeypatch.setattr(cu, name, called(name, value))

    def device_array(nbytes, dtype):
        held.append(np.zeros(nbytes, np.uint8))
        pointer = MemoryPointer(None, cu.CUdeviceptr(held[-1].ctypes.data), nbytes)
        return devicearray.DeviceNDArray((nbytes,), (1,), dtype, gpu_data=pointer)

    class Card(nullcontext):
        compute_capability = (9, 0)

    monkeypatch.setattr(devices._runtime, "ensure_context", nullcontext)
    module = SimpleNamespace(
        gpus=[Card()] * count,
        stream=lambda: Numbered(next(numbers)),
        event=lambda timing: Numbered(next(numbers)),
        current_context=lambda: SimpleNamespace(handle=1),
        device_array=device_array,
        pinned_array=lambda shape, dtype: np.zeros(shape, dtype),
    )
    for place in (device, numba_cuda):
        monkeypatch.setattr(place, "cuda", module)
    stand_in_kernels(monkeypatch, lambda *_: calls.append("kernel"))
    card = Gpu("a card that is not there", 80 << 30, (9, 0))
    for place in (binding, memory):
        monkeypatch.setattr(place, "gpus", lambda: (card,) * count)
    monkeypatch.setattr(binding, "obstacle", lambda: None)
    return calls
