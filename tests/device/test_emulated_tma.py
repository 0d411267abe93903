"""A kernel with a tensor map on the emulated GPU: what it copies, and what is told of one that waits in vain."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import EmulatedCuda, needs_compiler

from netspec.contract.tensor_map import Im2col, TensorMap
from netspec.errors import KernelError
from netspec.plugin import Lazy, cuda, device

pytestmark = needs_compiler
BYTES, MORE = 8192, 8208
shared_address, global_address, init, fence_init, expect, wait = (
    Lazy("netspec.kernels.mbarriers", name)
    for name in ("shared_address", "global_address", "init", "fence_init", "expect", "wait")
)
acquire, load_2d, load_im2col = (Lazy("netspec.kernels.tma", name) for name in ("acquire", "load_2d", "load_im2col"))


@device
def fetch(x_map, base, expected):
    place = global_address(x_map)
    if cuda.threadIdx.x == 0:
        acquire(place)
        init(base + BYTES, 1)
        fence_init()
        expect(base + BYTES, expected)
        load_2d(base, place, base + BYTES, 8, -2)
    cuda.syncthreads()
    wait(base + BYTES, 0)


def copy_box(x_map, y, expected):
    shared = cuda.shared.array(0, y.dtype, alignment=1024)
    fetch(x_map, shared_address(shared), expected)
    for i in range(cuda.threadIdx.x, BYTES // 4, 128):
        y[i] = shared[i]


def copy_box_beside(x_map, y, expected):
    shared, other = cuda.shared.array(0, y.dtype, alignment=1024), cuda.shared.array(2, y.dtype)
    if cuda.threadIdx.x == 0:
        other[0] = y.size
    fetch(x_map, shared_address(shared), expected)
    y[cuda.threadIdx.x] = shared[cuda.threadIdx.x] + other[0]


def copy_windows(x_map, y):
    shared = cuda.shared.array(0, y.dtype, alignment=1024)
    base, place = shared_address(shared), global_address(x_map)
    if cuda.threadIdx.x == 0:
        acquire(place)
        init(base + BYTES, 1)
        fence_init()
        expect(base + BYTES, 32 * 128)
        load_im2col(base, place, base + BYTES, 0, -1, -1, 0, 1, 2)
    cuda.syncthreads()
    wait(base + BYTES, 0)
    for i in range(cuda.threadIdx.x, 32 * 32, 128):
        y[i] = shared[i]


def _launched(kernel, one, x, count, *numbers):
    card = EmulatedCuda(nbytes=1 << 26)
    source, target = card.empty(x.shape, "float32"), card.empty((count,), "float32")
    card.upload(source, x)
    args = (card._described(one, source), target, *numbers)
    card.execute(kernel, "float32", None, (1,), (128,), args, MORE)
    return card.download(target)


def _rows(found):
    """Rows of 128 bytes, the permutation of their 16-byte chunks undone."""
    chunks = found.reshape(-1, 8, 4)
    order = np.arange(8)[:, None] ^ np.arange(8)
    return np.stack([row[order[number % 8]] for number, row in enumerate(chunks)]).reshape(-1, 32)


def test_a_box_of_an_array():
    x = np.arange(70 * 36, dtype=np.float32).reshape(70, 36)
    found = _rows(_launched(copy_box, TensorMap("x", (36, 70), (144,), (32, 64)), x, BYTES // 4, BYTES))
    wanted = np.zeros((64, 32), np.float32)
    wanted[2:, :28] = x[:62, 8:]
    assert np.array_equal(found, wanted)


def test_windows_of_images():
    x = np.random.default_rng(1).standard_normal((2, 5, 4, 32)).astype(np.float32)
    windows = Im2col(lower=(-1, -1), upper=(-1, -1), stride=(1, 1), channels=32, pixels=32)
    one = TensorMap("x", (32, 4, 5, 2), (128, 512, 2560), im2col=windows)
    found = _rows(_launched(copy_windows, one, x, 32 * 32))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    assert np.array_equal(found, padded[:, 2:7, 1:5].reshape(-1, 32)[:32])


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (BYTES + 16, "copy_box cannot go on: block 0, thread 0 waits forever for phase 0 of the mbarrier at byte "
                     r"8,192 of shared memory, which lacks 16 bytes that it expects\n.*wait\(base"),
        (16, r"copy_box cannot go on: .* lacks expect_tx of 8,176 bytes that have come"),
    ],
)  # fmt: skip
def test_wrong_counts_of_bytes_are_told_with_the_line(expected, words):
    x = np.zeros((70, 36), np.float32)
    with pytest.raises(KernelError, match=words):
        _launched(copy_box, TensorMap("x", (36, 70), (144,), (32, 64)), x, BYTES // 4, expected)


def test_dynamic_memory_behind_other_arrays_is_aligned_to_16_bytes_alone():
    """As the linker lays it out, whatever the kernel asks for: an H100 answers with a misaligned address."""
    x = np.zeros((70, 36), np.float32)
    with pytest.raises(KernelError, match=r"copy_box_beside .*multiple of"):
        _launched(copy_box_beside, TensorMap("x", (36, 70), (144,), (32, 64)), x, BYTES // 4, BYTES)


def test_maps_that_the_driver_would_refuse():
    card = EmulatedCuda(nbytes=1 << 20)
    array = card.empty((8, 6), "float32")
    with pytest.raises(ValueError, match="strides are multiples of 16"):
        card._described(TensorMap("x", (6, 8), (24,), (4, 8)), array)
