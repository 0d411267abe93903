"""Launches that only a GPU can show: dynamic shared memory, tensor maps (from Hopper on), graphs, the host's time.

Run with ``pytest -m gpu -s tests/gpu/test_launches.py``.
"""

from __future__ import annotations

import time
from math import prod

import numpy as np
import pytest

from netspec.contract.kernel import cuda
from netspec.contract.tensor_map import Im2col, TensorMap
from netspec.device.gpus import gpus, obstacle
from netspec.errors import NetspecError

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not gpus(), reason="no NVIDIA GPU is found"),
    pytest.mark.skipif(obstacle() is not None, reason=str(obstacle())),
]
hopper = pytest.mark.skipif(not gpus() or gpus()[0].capability[0] < 9, reason="tensor maps are read from Hopper on")
FLOATS = 25 << 10
"""Of 100 KB."""


@pytest.fixture(scope="module")
def card():
    from netspec.device.cuda.device import CudaDevice

    return CudaDevice(0)


def prepared(card, kernel, values, grid=1, threads=128, shared=0):
    """A launch of a function on arrays and numbers of the card."""
    from netspec.device.cuda.launcher import Launch
    from netspec.kernels import numba_cuda
    from netspec.kernels.cuda import compile_cuda
    from netspec.kernels.parallel import Work

    types, bound = tuple(map(numba_cuda.type_of, values)), threads if shared else 0
    dispatcher = compile_cuda(kernel, "float32", None, bound)
    work = Work(f"test:{kernel.__name__}", "float32", dispatcher, types, card.index, (), bound)
    launch = Launch(work, (grid,), (threads,), card._handles["compute"], values, shared)

    def call():
        with card._current:
            launch()

    return call


def put(card, values, dtype=None):
    array = card.empty(values.shape, dtype or str(values.dtype))
    card.upload(array, values)
    return array


# Shared memory and graphs ---------------------------------------------------------------------------------------------


def turn(x, y):
    """y is x backwards, by way of dynamic shared memory that holds all of it."""
    held = cuda.shared.array(0, x.dtype)
    for i in range(cuda.threadIdx.x, x.size, cuda.blockDim.x):
        held[i] = x[i]
    cuda.syncthreads()
    for i in range(cuda.threadIdx.x, x.size, cuda.blockDim.x):
        y[i] = held[x.size - 1 - i]


def test_100_kb_of_shared_memory(card):
    x = put(card, np.arange(FLOATS, dtype=np.float32))
    y = card.empty((FLOATS,), "float32")
    prepared(card, turn, (x, y), shared=4 * FLOATS)()
    np.testing.assert_array_equal(card.download(y), np.arange(FLOATS)[::-1])
    with pytest.raises(NetspecError, match=r"test:turn, asked for 1\.00 MiB of shared memory a block"):
        prepared(card, turn, (x, y), shared=1 << 20)()


def add_one(x):
    i = cuda.grid(1)
    if i < x.size:
        x[i] += 1


def test_launches_within_a_captured_graph(card):
    x = put(card, np.zeros(1000, np.float32))
    y, z = card.empty((FLOATS,), "float32"), put(card, np.arange(FLOATS, dtype=np.float32))
    calls = [prepared(card, add_one, (x,), grid=8), prepared(card, turn, (z, y), shared=4 * FLOATS)]

    def call():
        for _ in range(3):
            for one in calls:
                one()

    call()
    replay = card.capture(call)
    card.upload(y, np.zeros(FLOATS, np.float32))
    for _ in range(5):
        replay()
    assert (card.download(x) == 18).all()
    np.testing.assert_array_equal(card.download(y), np.arange(FLOATS)[::-1])


def test_the_hosts_time_of_a_launch_is_told(card):
    x = put(card, np.zeros(1000, np.float32))
    call, count = prepared(card, add_one, (x,), grid=8), 500
    call()
    card.synchronise()
    began = time.perf_counter()
    with card._current:
        for _ in range(count):
            call()
    told = time.perf_counter() - began
    assert (card.download(x) == count + 1).all()
    print(f"\na launch takes {1e6 * told / count:.1f} us of the host, contexts included")


# Tensor maps ----------------------------------------------------------------------------------------------------------


def _asm(name, kinds, text, letters, convert=None):
    """An intrinsic of one piece of PTX; ``convert`` gives the address of the first argument, an array."""
    from llvmlite import ir
    from numba.cuda import types
    from numba.cuda.extending import intrinsic

    def define(_, *args):
        def generate(context, builder, signature, values):
            if convert:
                data = context.make_array(signature.args[0])(context, builder, values[0]).data
                space = {"shared": 3, "global": 1}[convert]
                near = builder.addrspacecast(data, ir.PointerType(data.type.pointee, space))
                return builder.ptrtoint(near, ir.IntType(32 if space == 3 else 64))
            kind = ir.FunctionType(ir.VoidType(), [one.type for one in values])
            code = ir.InlineAsm(kind, text, f"{letters},~{{memory}}", side_effect=True)
            builder.call(code, values, attrs=("convergent",))
            return context.get_dummy_value()

        result = {"shared": types.uint32, "global": types.uint64, None: types.void}[convert]
        return result(*(args if convert else kinds(types))), generate

    names = ", ".join(f"a{number}" for number in range(1 if convert else len(letters.split(","))))
    space = {"define": define}
    exec(f"def {name}(_, {names}):\n    return define(_, {names})", space)
    return intrinsic(space[name])


def _u32(count):
    return lambda types: [types.uint32] * count


def _copy(axes, offsets=0):
    mode = "im2col" if offsets else "tile"
    places = ", ".join(f"${3 + number}" for number in range(axes))
    more = ", {" + ", ".join(f"${3 + axes + number}" for number in range(offsets)) + "}" if offsets else ""
    text = (
        f"cp.async.bulk.tensor.{axes}d.shared::cluster.global.{mode}.mbarrier::complete_tx::bytes "
        f"[$0], [$1, {{{places}}}], [$2]{more};"
    )
    letters = ",".join(["r", "l", "r"] + ["r"] * axes + ["h"] * offsets)

    def kinds(types):
        return [types.uint32, types.uint64, types.uint32] + [types.int32] * axes + [types.uint16] * offsets

    return _asm(f"copy_{mode}_{axes}d", kinds, text, letters)


def _kernels():
    """Kernels that bring one box to shared memory and write it out as it lies there."""
    shared_at, global_at = _asm("shared_at", None, "", "", "shared"), _asm("global_at", None, "", "", "global")
    acquire = _asm(
        "acquire", lambda types: [types.uint64], "fence.proxy.tensormap::generic.acquire.gpu [$0], 128;", "l"
    )
    init = _asm(
        "init", _u32(2), "mbarrier.init.shared::cta.b64 [$0], $1; fence.mbarrier_init.release.cluster;", "r,r"
    )
    expect = _asm(
        "expect", _u32(2), "{ .reg .b64 t; mbarrier.arrive.expect_tx.shared::cta.b64 t, [$0], $1; }", "r,r"
    )
    await_ = _asm(
        "await_", _u32(2),
        "{ .reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, [$0], $1; @done bra over; "
        "bra again; over: }", "r,r",
    )  # fmt: skip
    tiled, windows = _copy(2), _copy(4, 2)

    def box_of_matrix(x, x_map, out, nbytes, column, row):
        held, barriers = cuda.shared.array(0, x.dtype, alignment=1024), cuda.shared.array(1, "uint64")
        box, barrier, place = shared_at(held), shared_at(barriers), global_at(x_map)
        if cuda.threadIdx.x == 0:
            acquire(place)
            init(barrier, 1)
            expect(barrier, nbytes)
            tiled(box, place, barrier, column, row)
        cuda.syncthreads()
        await_(barrier, 0)
        for i in range(cuda.threadIdx.x, out.size, cuda.blockDim.x):
            out[i] = held[i]

    def box_of_windows(x, x_map, out, nbytes, channel, column, row, image, tap_column, tap_row):
        held, barriers = cuda.shared.array(0, x.dtype, alignment=1024), cuda.shared.array(1, "uint64")
        box, barrier, place = shared_at(held), shared_at(barriers), global_at(x_map)
        if cuda.threadIdx.x == 0:
            acquire(place)
            init(barrier, 1)
            expect(barrier, nbytes)
            windows(box, place, barrier, channel, column, row, image, tap_column, tap_row)
        cuda.syncthreads()
        await_(barrier, 0)
        for i in range(cuda.threadIdx.x, out.size, cuda.blockDim.x):
            out[i] = held[i]

    return box_of_matrix, box_of_windows


def brought(card, kernel, values, one, lines, places):
    """What a box holds, chunks of 16 bytes as they lie in shared memory put back where they belong."""
    from netspec.device.cuda import tensor_maps

    x = put(card, values)
    out = card.empty((prod(lines),), "float32")
    described = tensor_maps.put(card, one, x, tensor_maps.encode)
    nbytes = 4 * prod(lines)
    numbers = (np.uint32(nbytes), *map(np.int32, places))
    prepared(card, kernel, (x, described, out, *numbers), shared=nbytes + 1024)()
    return unswizzled(card.download(out).reshape(lines), one.swizzle)


def unswizzled(lines, swizzle):
    """Chunk c of line r lies at c ^ (r's number of 128 bytes mod 8, 4 or 2), so that 8 lines cover all banks."""
    chunks = lines.reshape(len(lines), -1, 4)
    number = np.arange(chunks.shape[0]) * chunks.shape[1] // 8
    mask = {0: 0, 32: 1, 64: 3, 128: 7}[swizzle]
    at = np.arange(chunks.shape[1]) ^ (number & mask)[:, None]
    return np.take_along_axis(chunks, at[:, :, None], 1).reshape(lines.shape)


@hopper
@pytest.mark.parametrize("swizzle", [0, 32, 64, 128])
def test_a_box_of_a_matrix(card, swizzle):
    """With an edge that lies outside, where there are zeros."""
    values, width = np.random.default_rng(1).normal(size=(100, 64)).astype(np.float32), (swizzle or 64) // 4
    one = TensorMap("x", (64, 100), (256,), (width, 48), swizzle=swizzle)
    found = brought(card, _kernels()[0], values, one, (48, width), (16, 80))
    wanted = np.zeros((48, width), np.float32)
    wanted[:20] = values[80:100, 16 : 16 + width]
    np.testing.assert_array_equal(found, wanted)


@hopper
@pytest.mark.parametrize("swizzle", [0, 128])
def test_windows_of_an_image(card, swizzle):
    """Of 3 x 3 by 1 with a pad of 1 in x, of 1 x 2 in y: pixels from one on, over rows and images."""
    images, height, width, depth, pixels = 3, 5, 7, 64, 60
    values = np.random.default_rng(2).normal(size=(images, height, width, depth)).astype(np.float32)
    strides = (4 * depth, 4 * depth * width, 4 * depth * width * height)
    windows = Im2col((-1, 0), (-1, -1), (1, 1), 32, pixels)
    one = TensorMap("x", (depth, width, height, images), strides, im2col=windows, swizzle=swizzle)
    around = np.pad(values, ((0, 0), (0, 1), (1, 1), (0, 0)))
    out_height = height - 1
    for tap_row, tap_column, first in ((0, 0, 0), (1, 2, 0), (1, 1, 10)):
        image, row, column = 0, first // width, first % width
        places = (32, column - 1, row, image, tap_column, tap_row)
        found = brought(card, _kernels()[1], values, one, (pixels, 32), places)
        taps = around[:, tap_row : tap_row + out_height, tap_column : tap_column + width, 32:]
        np.testing.assert_array_equal(found, taps.reshape(-1, 32)[first : first + pixels])
