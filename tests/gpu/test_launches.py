"""Launches that only a GPU can show: dynamic shared memory, tensor maps (from Hopper on), graphs, the host's time.

Run with ``pytest -m gpu -s tests/gpu/test_launches.py``.
"""

from __future__ import annotations

import time
from math import prod

import numpy as np
import pytest

from netspec.check.subject import Case, draw
from netspec.contract.kernel import Lazy, cuda
from netspec.contract.tensor import Tensor, itemsize
from netspec.contract.tensor_map import Im2col, TensorMap
from netspec.device.gpus import gpus, obstacle
from netspec.errors import NetspecError
from netspec.registry import layer_types, load_plugin

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not gpus(), reason="no NVIDIA GPU is found"),
    pytest.mark.skipif(obstacle() is not None, reason=str(obstacle())),
]
hopper = pytest.mark.skipif(not gpus() or gpus()[0].capability[0] < 9, reason="tensor maps are read from Hopper on")
FLOATS = 25 << 10
"""Of 100 KB."""
shared_address, global_address, init, fence_init, expect, wait = (
    Lazy("netspec.kernels.mbarriers", name)
    for name in ("shared_address", "global_address", "init", "fence_init", "expect", "wait")
)
acquire, load_2d, load_im2col = (Lazy("netspec.kernels.tma", name) for name in ("acquire", "load_2d", "load_im2col"))
LAYER = '''
from netspec.plugin import Layer, Lazy, Tensor, TensorMap, cuda, forward, register

shared_address, global_address, init, fence_init, expect, wait = (
    Lazy("netspec.kernels.mbarriers", name)
    for name in ("shared_address", "global_address", "init", "fence_init", "expect", "wait")
)
acquire, load_2d = (Lazy("netspec.kernels.tma", name) for name in ("acquire", "load_2d"))


def maps(t):
    rows, columns = t.x.shape
    return {"x_map": TensorMap("x", (columns, rows), (4 * columns,), (32, rows), swizzle=0)}


@register("gpu_columns")
class Columns(Layer):
    """y = x, brought by a block in boxes of 32 columns."""

    def outputs(self, x):
        return Tensor(x.shape)

    @forward("cuda", over="x", writes="y", shared=lambda t: 100 << 10, grid=lambda t: (1,), maps=maps)
    def forward_cuda(x, x_map, y):
        held = cuda.shared.array(0, x.dtype, alignment=1024)  # with no other beside it, which would spoil that
        barrier = shared_address(held) + x.shape[0] * 128
        if cuda.threadIdx.x == 0:
            acquire(global_address(x_map))
            init(barrier, 1)
            fence_init()
        cuda.syncthreads()
        for number in range(x.shape[1] // 32):
            if cuda.threadIdx.x == 0:
                expect(barrier, x.shape[0] * 128)
                load_2d(shared_address(held), global_address(x_map), barrier, 32 * number, 0)
            wait(barrier, number % 2)
            for i in range(cuda.threadIdx.x, x.shape[0] * 32, cuda.blockDim.x):
                y[i // 32, 32 * number + i % 32] = held[i]
            cuda.syncthreads()
'''


@pytest.fixture(scope="module")
def card():
    from netspec.device.cuda.device import CudaDevice

    return CudaDevice(0)


def prepared(card, kernel, values, grid=1, threads=128, shared=0):
    """A launch of a function on arrays and numbers of the card."""
    from netspec.device.cuda.kernel_launch import Launch
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


def box_of_matrix(x, x_map, out, nbytes, column, row):
    """The box from that column and row on, as it lies in shared memory."""
    held, place = cuda.shared.array(0, out.dtype, alignment=1024), global_address(x_map)
    box = shared_address(held)
    barrier = box + nbytes
    if cuda.threadIdx.x == 0:
        acquire(place)
        init(barrier, 1)
        fence_init()
        expect(barrier, nbytes)
        load_2d(box, place, barrier, column, row)
    cuda.syncthreads()
    wait(barrier, 0)
    for i in range(cuda.threadIdx.x, out.size, cuda.blockDim.x):
        out[i] = held[i]


def box_of_windows(x, x_map, out, nbytes, channel, column, row, image, tap_column, tap_row):
    """The same of windows, from the one on whose first tap is there, each at one tap."""
    held, place = cuda.shared.array(0, out.dtype, alignment=1024), global_address(x_map)
    box = shared_address(held)
    barrier = box + nbytes
    if cuda.threadIdx.x == 0:
        acquire(place)
        init(barrier, 1)
        fence_init()
        expect(barrier, nbytes)
        load_im2col(box, place, barrier, channel, column, row, image, tap_column, tap_row)
    cuda.syncthreads()
    wait(barrier, 0)
    for i in range(cuda.threadIdx.x, out.size, cuda.blockDim.x):
        out[i] = held[i]


def brought(card, kernel, values, dtype, one, lines, places):
    """What a box holds, chunks of 16 bytes as they lie in shared memory put back where they belong."""
    from netspec.device.cuda import tensor_maps

    x, bits = put(card, values, dtype), {"float32": "uint32", "bfloat16": "uint16"}[dtype]
    out, nbytes = card.empty((prod(lines),), bits), prod(lines) * itemsize(dtype)
    with card._card:  # the driver is asked within a context, as it is where passes are bound
        described = tensor_maps.put(card, one, x, tensor_maps.encode)
    numbers = (np.uint32(nbytes), *map(np.int32, places))
    prepared(card, kernel, (x, described, out, *numbers), shared=nbytes + 1024)()
    found = unswizzled(card.download(out).reshape(lines), one.swizzle)
    return (found.astype(np.uint32) << (32 - 8 * itemsize(dtype))).view(np.float32)


def unswizzled(lines, swizzle):
    """Chunk c of line r lies at c ^ (r's number of 128 bytes mod 8, 4 or 2), so that 8 lines cover all banks."""
    chunks = lines.reshape(len(lines), -1, 16 // lines.itemsize)
    number = np.arange(chunks.shape[0]) * chunks.shape[1] // 8
    mask = {0: 0, 32: 1, 64: 3, 128: 7}[swizzle]
    at = np.arange(chunks.shape[1]) ^ (number & mask)[:, None]
    return np.take_along_axis(chunks, at[:, :, None], 1).reshape(lines.shape)


@hopper
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("swizzle", [0, 32, 64, 128])
def test_a_box_of_a_matrix(card, swizzle, dtype):
    """With an edge that lies outside, where there are zeros."""
    values, nbytes = np.random.default_rng(1).integers(-99, 99, (100, 96)).astype(np.float32), itemsize(dtype)
    width = (swizzle or 64) // nbytes
    one = TensorMap("x", (96, 100), (96 * nbytes,), (width, 48), swizzle=swizzle)
    found = brought(card, box_of_matrix, values, dtype, one, (48, width), (16, 80))
    wanted = np.zeros((48, width), np.float32)
    wanted[:20] = values[80:100, 16 : 16 + width]
    np.testing.assert_array_equal(found, wanted)


@hopper
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("swizzle", [0, 128])
def test_windows_of_an_image(card, swizzle, dtype):
    """Of 3 x 3 by 1 with a pad of 1 in x, of 1 x 2 in y: pixels from one on, over rows and images."""
    images, height, width, depth, pixels, channels = 3, 5, 7, 128, 60, 128 // itemsize(dtype)
    values = np.random.default_rng(2).integers(-99, 99, (images, height, width, depth)).astype(np.float32)
    strides = tuple(itemsize(dtype) * depth * count for count in (1, width, width * height))
    windows = Im2col((-1, 0), (-1, -1), (1, 1), channels, pixels)
    one = TensorMap("x", (depth, width, height, images), strides, im2col=windows, swizzle=swizzle)
    around = np.pad(values, ((0, 0), (0, 1), (1, 1), (0, 0)))
    out_height = height - 1
    for tap_row, tap_column, first in ((0, 0, 0), (1, 2, 0), (1, 1, 10)):
        image, row, column = 0, first // width, first % width
        places = (32, column - 1, row, image, tap_column, tap_row)
        found = brought(card, box_of_windows, values, dtype, one, (pixels, channels), places)
        taps = around[:, tap_row : tap_row + out_height, tap_column : tap_column + width, 32 : 32 + channels]
        np.testing.assert_array_equal(found, taps.reshape(-1, channels)[first : first + pixels])


@hopper
def test_a_layer_names_shared_memory_and_maps(card, tmp_path):
    """From the mark in a plugin to the launch: more than 48 KB, and more than one box."""
    (tmp_path / "columns.py").write_text(LAYER)
    load_plugin(tmp_path / "columns.py")
    case = Case(layer_types()["gpu_columns"], {}, (Tensor((200, 128), "float32"),))
    values, single = draw(case), case.on(card)
    for _ in range(2):
        np.testing.assert_array_equal(single.forward(values)["y"], values["x"])
        values = {key: 2 * value for key, value in values.items()}
