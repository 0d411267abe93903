"""Arrays that are stored as bfloat16: kernels on the emulator against ml_dtypes' rounding."""

from __future__ import annotations

import pickle

import ml_dtypes
import numpy as np
import pytest
from compiled import EmulatedCuda, launched, needs_compiler

from netspec.errors import KernelError
from netspec.kernels import numba_cuda
from netspec.plugin import (
    cp_async4,
    cp_async8,
    cp_async16,
    cp_async_commit,
    cp_async_wait,
    cuda,
    load4,
    store4,
    store_relaxed,
)

pytestmark = needs_compiler
BF16 = ml_dtypes.bfloat16
CARDS = pytest.mark.parametrize("capability", [(8, 0), (9, 0)], ids=["sm_80", "sm_90a"])
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 3.4e38, -3.4e38, 1e-40, 65280.0, 1.0]


def floats():
    """Of each kind: ties both ways, halves of them off by a bit, subnormal numbers, NaN, infinities; 128 in all."""
    bits = np.random.default_rng(1).integers(0, 1 << 32, 59, np.uint64).astype(np.uint32)
    ties = (np.arange(59, dtype=np.uint32) * 0x00A30000 + 0x30000000) | np.uint32(0x8000)
    ties[::3] += 1
    return np.concatenate([bits.view(np.float32), ties.view(np.float32), np.array(SPECIAL, np.float32)])


def same(got, values):
    """Whether bfloat16 is the rounding of float32, NaN for NaN."""
    with np.errstate(invalid="ignore"):
        expected = values.astype(BF16)
    missing = np.isnan(values)
    np.testing.assert_array_equal(np.isnan(got), missing)
    np.testing.assert_array_equal(got.view(np.uint16)[~missing], expected.view(np.uint16)[~missing])


def copied(x, y):
    i = cuda.grid(1)
    if i < x.size:
        y[i] = x[i]


@CARDS
def test_numbers_are_rounded_to_the_nearest_even_where_they_are_written(capability):
    values, stored = floats(), np.zeros(128, BF16)
    launched(copied, values, stored, threads=128, capability=capability)
    same(stored, values)


@CARDS
def test_every_bfloat16_is_read_as_the_float32_that_it_is(capability):
    stored = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16).view(BF16)
    read = np.zeros(1 << 16, np.float32)
    launched(copied, stored, read, threads=256, blocks=256, capability=capability)
    np.testing.assert_array_equal(read.view(np.uint32), stored.view(np.uint16).astype(np.uint32) << np.uint32(16))


def fours(x, y):
    i = cuda.grid(1)
    if 4 * i < x.size:
        a, b, c, d = load4(x, 4 * i)
        store4(y, 4 * i, a, b, c, d)


@CARDS
def test_four_neighbours_are_one_access_of_eight_bytes(capability):
    values, stored, read = floats(), np.zeros(128, BF16), np.zeros(128, np.float32)
    launched(fours, values, stored, capability=capability)
    same(stored, values)
    launched(fours, stored, read, capability=capability)
    np.testing.assert_array_equal(read, stored.astype(np.float32))
    with pytest.raises(KernelError, match="unaligned access of 8 bytes"):
        launched(astray, values[:32], stored[:33])


def astray(x, y):
    i = cuda.grid(1)
    if i < 8:
        a, b, c, d = load4(x, 4 * i)
        store4(y, 4 * i + 1, a, b, c, d)


def in_float32(x, y, rounded):
    """One third in shared memory: float32, where it is of x.dtype; in y rounded."""
    i = cuda.grid(1)
    shared = cuda.shared.array(32, x.dtype)
    shared[i] = x[i] / 3.0
    y[i] = shared[i] * x.dtype.type(3)
    rounded[i] = x[i] / 3.0
    rounded[i] = rounded[i] * x.dtype.type(3)


def test_shared_arrays_of_its_dtype_and_all_arithmetic_are_float32():
    x, y, rounded = np.arange(1, 33).astype(BF16), np.zeros(32, np.float32), np.zeros(32, np.float32)
    launched(in_float32, x, y, np.zeros(32, BF16))
    np.testing.assert_array_equal(y, x.astype(np.float32) / np.float32(3) * np.float32(3))
    kept = np.zeros(32, BF16)
    launched(in_float32, x, rounded, kept)
    third = (x.astype(np.float32) / np.float32(3)).astype(BF16).astype(np.float32)
    same(kept, third * np.float32(3))


def shapes(x, y):
    """Rows, slices and flat elements; sums in place; numbers of other types."""
    i = cuda.grid(1)
    if i < x.shape[0]:
        row = y[i]
        row[0] = x[i, 0]
        row[1:][0] += x[i][1] + x.ndim
        y[i, 2:4][1] = y.shape[1] + y.size
        y.flat[y.shape[1] * i + 2] = True
        y.flat[y.shape[1] * i + 4] = x.flat[x.shape[1] * i + 2]
        y.flat[y.shape[1] * i + 5] = 7
        for value in x[i]:
            y[i, 6] += value * value


def test_views_are_such_arrays_again():
    x = np.random.default_rng(2).standard_normal((5, 3)).astype(BF16)
    y = np.ones((5, 7), BF16)
    launched(shapes, x, y)
    wide = x.astype(np.float32)
    total = np.float32(1)
    for column in range(3):
        total = (total + wide[:, column] ** 2).astype(BF16).astype(np.float32)
    columns = [wide[:, 0], 1 + (wide[:, 1] + 2), np.ones(5), np.full(5, 42), wide[:, 2], np.full(5, 7), total]
    same(y, np.stack(columns, axis=1).astype(np.float32))


def copies_four_bytes(x):
    shared = cuda.shared.array(64, "float32")
    cp_async16(x, 0, shared, 0, 4)


def copied_pairs(x, y):
    shared = cuda.shared.array(64, "float32", alignment=16)
    t = cuda.threadIdx.x
    if t < 4:
        cp_async16(shared, 4 * t, x, 8 * t, 2 * t)
        cp_async16(shared, 16 + 4 * t, x, 8 * t, t % 2 == 0)
        cp_async8(shared, 32 + 2 * t, x, 4 * t, 3)
        cp_async4(shared, 40 + t, x, 2 * t, 1)
    cp_async_commit()
    cp_async_wait(0)
    cuda.syncthreads()
    y[t] = shared[t]


def test_asynchronous_copies_bring_as_many_as_fit_as_they_lie():
    x, y = np.random.default_rng(1).standard_normal(32).astype(BF16), np.zeros(44, np.float32)
    launched(copied_pairs, x, y, threads=44)
    got = y.view(BF16).astype(np.float32)
    eights, wide = got[:64].reshape(2, 4, 8), x.astype(np.float32)
    for t in range(4):
        np.testing.assert_array_equal(eights[0, t], np.r_[wide[8 * t : 10 * t], np.zeros(8 - 2 * t, np.float32)])
        np.testing.assert_array_equal(eights[1, t], wide[8 * t : 8 * t + 8] * (t % 2 == 0))
        np.testing.assert_array_equal(got[64 + 4 * t : 68 + 4 * t], np.r_[wide[4 * t : 4 * t + 3], np.float32(0)])
        np.testing.assert_array_equal(got[80 + 2 * t : 82 + 2 * t], np.r_[wide[2 * t], np.float32(0)])


def relaxed(x):
    store_relaxed(x, 0, 1)


@pytest.mark.parametrize("kernel", [copies_four_bytes, relaxed])
def test_what_moves_elements_of_four_bytes_refuses_them(kernel):
    with pytest.raises(KernelError, match="takes no array that is stored as bfloat16"):
        launched(kernel, np.zeros(8, BF16))


def test_what_was_not_written_is_found_by_the_element():
    card = EmulatedCuda(nbytes=1 << 20)
    x, y = card.empty((4, 8), "bfloat16"), card.empty((4, 8), "bfloat16")
    card.upload(x[:3], np.zeros((3, 8), np.float32))
    with pytest.raises(KernelError, match=r"reads x\[3, 0\]"):
        card.execute(copied_flat, "float32", None, (1,), (32,), (x, y))
    assert card.unwritten(y)[3].all()


def copied_flat(x, y):
    i = cuda.grid(1)
    y.flat[i] = x.flat[i]


def test_its_type_is_its_own_and_survives_the_cache():
    stored = numba_cuda.type_of(np.zeros((2, 3), BF16))
    assert stored == numba_cuda.array_type("bfloat16", 2) == pickle.loads(pickle.dumps(stored))
    assert stored.dtype not in (numba_cuda.types.bfloat16, numba_cuda.types.uint16)
    from numba.cuda.typing.typeof import Purpose, typeof

    assert typeof(np.zeros(2, BF16), Purpose.argument).dtype == numba_cuda.types.bfloat16
    assert numba_cuda.type_of(np.zeros(2, np.uint16)).dtype == numba_cuda.types.uint16
