"""What intrinsics give on the emulator; fragments by a table written after the PTX ISA's formulas."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import launched, needs_compiler

from netspec.errors import NetspecError
from netspec.plugin import (
    Lazy,
    cp_async4,
    cp_async8,
    cp_async16,
    cp_async_commit,
    cp_async_wait,
    cuda,
    ldmatrix,
    ldmatrix_trans,
    load4,
    mma_bf16,
    mma_tf32,
    quotient,
    rsqrt,
    shuffle_down,
    shuffle_up,
    shuffle_xor,
    store4,
    to_bf16x2,
    to_tf32,
)

pytestmark = needs_compiler
WORDS, MANY = 128, 256
scaled = Lazy("netspec.kernels.instructions", "scaled")


# The PTX ISA's words for each fragment: element i of lane's registers -> (row, column) of the matrix ------------------


def a_tf32(lane, i):
    group, thread = lane >> 2, lane % 4
    return (group if i in (0, 2) else group + 8), (thread if i in (0, 1) else thread + 4)


def b_tf32(lane, i):
    group, thread = lane >> 2, lane % 4
    return (thread if i == 0 else thread + 4), group


def a_bf16(lane, i):
    group, thread = lane >> 2, lane % 4
    row = group if 0 <= i < 2 or 4 <= i < 6 else group + 8
    return row, thread * 2 + (i & 1) + (0 if i < 4 else 8)


def b_bf16(lane, i):
    group, thread = lane >> 2, lane % 4
    return thread * 2 + (i & 1) + (0 if i < 2 else 8), group


def c_both(lane, i):
    group, thread = lane >> 2, lane % 4
    return (group if i < 2 else group + 8), thread * 2 + (i & 1)


def deal(matrix, place, count):
    return np.array([[matrix[place(lane, i)] for i in range(count)] for lane in range(32)], np.float32)


def test_each_element_has_one_place():
    for place, count, shape in (
        (a_tf32, 4, (16, 8)), (b_tf32, 2, (8, 8)), (a_bf16, 8, (16, 16)), (b_bf16, 4, (16, 8)), (c_both, 4, (16, 8)),
    ):  # fmt: skip
        seen = {place(lane, i) for lane in range(32) for i in range(count)}
        assert seen == set(np.ndindex(shape)) and len(seen) == 32 * count


def multiply_tf32(a, b, c, d):
    t = cuda.threadIdx.x
    left = to_tf32(a[t, 0]), to_tf32(a[t, 1]), to_tf32(a[t, 2]), to_tf32(a[t, 3])
    sums = mma_tf32(left, (to_tf32(b[t, 0]), to_tf32(b[t, 1])), (c[t, 0], c[t, 1], c[t, 2], c[t, 3]))
    for i in range(4):
        d[t, i] = sums[i]


def multiply_bf16(a, b, c, d):
    t = cuda.threadIdx.x
    left = (
        to_bf16x2(a[t, 0], a[t, 1]),
        to_bf16x2(a[t, 2], a[t, 3]),
        to_bf16x2(a[t, 4], a[t, 5]),
        to_bf16x2(a[t, 6], a[t, 7]),
    )
    right = to_bf16x2(b[t, 0], b[t, 1]), to_bf16x2(b[t, 2], b[t, 3])
    sums = mma_bf16(left, right, (c[t, 0], c[t, 1], c[t, 2], c[t, 3]))
    for i in range(4):
        d[t, i] = sums[i]


@pytest.mark.parametrize(
    ("kernel", "a_place", "b_place", "terms"),
    [(multiply_tf32, a_tf32, b_tf32, 8), (multiply_bf16, a_bf16, b_bf16, 16)],
)
def test_products_of_a_warp(kernel, a_place, b_place, terms):
    rng = np.random.default_rng(1)
    a, b, c = (rng.integers(-8, 8, shape).astype("f") for shape in ((16, terms), (terms, 8), (16, 8)))
    d = np.zeros((32, 4), np.float32)
    launched(kernel, deal(a, a_place, terms // 2), deal(b, b_place, terms // 4), deal(c, c_both, 4), d)
    assert np.array_equal(d, deal(a @ b + c, c_both, 4))


def load_matrices(source, plain, transposed):
    words = cuda.shared.array(MANY, source.dtype, alignment=16)
    t = cuda.threadIdx.x
    store4(words, 4 * t, source[4 * t], source[4 * t + 1], source[4 * t + 2], source[4 * t + 3])
    cuda.syncthreads()
    one, other = ldmatrix(words, 4 * t), ldmatrix_trans(words, 4 * t)
    for i in range(4):
        plain[t, i] = one[i]
        transposed[t, i] = other[i]


def test_matrices_are_dealt_as_the_isa_says():
    """Lane l gets, of matrix i, row l / 4 and elements 2 (l % 4) and the next, packed low half first."""
    halves = np.arange(4 * 8 * 8, dtype=np.uint16)
    plain, transposed = np.zeros((2, 32, 4), np.uint32)
    launched(load_matrices, halves.view(np.float32), plain, transposed)
    for given, transpose in ((plain, False), (transposed, True)):
        for lane, i in np.ndindex(32, 4):
            matrix = halves.reshape(4, 8, 8)[i].T if transpose else halves.reshape(4, 8, 8)[i]
            low, high = matrix[lane // 4, lane % 4 * 2], matrix[lane // 4, lane % 4 * 2 + 1]
            assert given[lane, i] == int(low) | int(high) << 16


def copy(source, target):
    words = cuda.shared.array(WORDS, source.dtype, alignment=16)
    t = cuda.threadIdx.x
    cp_async16(words, 4 * t, source, 4 * t, t % 5)
    cp_async_commit()
    cp_async_wait(0)
    cuda.syncthreads()
    a, b, c, d = load4(words, 4 * t)
    store4(target, 4 * t, d, c, b, a)


def test_copies_fill_up_with_zeros():
    source, target = np.arange(1, 129, dtype="f"), np.zeros(128, "f")
    launched(copy, source, target)
    expected = source.reshape(32, 4) * (np.arange(4) < (np.arange(32) % 5)[:, None])
    assert np.array_equal(target.reshape(32, 4)[:, ::-1], expected)


def copy_all_or_none(source, target):
    words = cuda.shared.array(WORDS, source.dtype, alignment=16)
    t = cuda.threadIdx.x
    cp_async16(words, 4 * t, source, 4 * t, t % 2 == 0)
    cp_async_commit()
    cp_async_wait(0)
    cuda.syncthreads()
    a, b, c, d = load4(words, 4 * t)
    store4(target, 4 * t, a, b, c, d)


def test_copies_of_all_or_none():
    source, target = np.arange(1, 129, dtype="f"), np.zeros(128, "f")
    launched(copy_all_or_none, source, target)
    assert np.array_equal(target.reshape(32, 4), source.reshape(32, 4) * (np.arange(32) % 2 == 0)[:, None])


def copy_narrow(source, target):
    words = cuda.shared.array(WORDS, source.dtype, alignment=16)
    t = cuda.threadIdx.x
    cp_async8(words, 2 * t, source, 2 * t + 2, 1)
    cp_async4(words, 64 + t, source, t + 1, t % 2)
    cp_async_commit()
    cp_async_wait(0)
    cuda.syncthreads()
    for i in range(3):
        target[t, i] = words[2 * t + i] if i < 2 else words[64 + t]


def test_narrow_copies():
    source, target = np.arange(100, dtype="f"), np.ones((32, 3), "f")
    launched(copy_narrow, source, target)
    assert [list(row) for row in target[:2]] == [[2, 0, 0], [4, 0, 2]]


def exchange(source, other, later, before):
    t = cuda.threadIdx.x
    other[t] = shuffle_xor(source[t], 5)
    later[t] = shuffle_down(source[t], 4)
    before[t] = shuffle_up(source[t], 3)


def test_shuffles_stay_in_their_warp():
    source = np.arange(64, dtype="f")
    other, later, before = np.zeros((3, 64), "f")
    launched(exchange, source, other, later, before, threads=64)
    assert np.array_equal(other, source.reshape(-1)[np.arange(64) ^ 5])
    assert np.array_equal(later, [n + 4 if n % 32 < 28 else n for n in range(64)])
    assert np.array_equal(before, [n - 3 if n % 32 > 2 else n for n in range(64)])


def stray(source, target):
    if cuda.threadIdx.x < 7:
        cuda.syncthreads()
    target[cuda.threadIdx.x] = shuffle_xor(source[0], 1)


def test_a_barrier_that_some_threads_do_not_reach_is_an_error():
    with pytest.raises(NetspecError, match="never come"):
        launched(stray, np.zeros(1, "f"), np.zeros(32, "f"))


def rounded(source, tf32, bf16):
    i = cuda.threadIdx.x
    tf32[i], bf16[i] = to_tf32(source[i]), to_bf16x2(source[i], 1.0)


@pytest.mark.parametrize("capability", [(8, 0), (9, 0)])
def test_numbers_are_rounded_to_the_nearest(capability):
    """Ties to tf32 go away from zero, from Hopper on to even; those to bfloat16 to even."""
    tie, half = 2.0**-11, 2.0**-8
    source = np.array([1 + tie, 1 + 0.98 * tie, -1 - tie, 1 + half, 1 + 3 * half, -2, np.inf, np.nan], "f")
    tf32, bf16 = np.zeros((2, 8), np.uint32)
    launched(rounded, source, tf32, bf16, threads=8, capability=capability)
    away = 2 * tie if capability < (9, 0) else 0
    wanted = [1 + away, 1, -1 - away, 1 + half, 1 + 3 * half, -2, np.inf, np.nan]
    assert np.array_equal(tf32.view("f"), np.array(wanted, "f"), equal_nan=True)
    wanted = [1, 1, -1, 1, 1 + 4 * half, -2, np.inf, np.nan]
    assert np.array_equal((bf16 << 16).view("f"), np.array(wanted, "f"), equal_nan=True)
    assert (bf16 >> 16 == 0x3F80).all()


def numbers(source, whole, target, shares):
    i = cuda.threadIdx.x
    target[i] = rsqrt(source[i]) + quotient(whole[i], 7)
    shares[i] = scaled(whole[i], 2454267027, 34)  # the first number that is 2 ** 34 / 7 or more


def test_numbers():
    source, whole = np.linspace(0.1, 9, 32, dtype="f"), np.arange(32, dtype=np.int32)
    whole[-2:] = 2**31 - 2, 2**31 - 1
    target, shares = np.zeros(32, "f"), np.zeros(32, np.int32)
    launched(numbers, source, whole, target, shares)
    assert np.allclose(target, 1 / np.sqrt(source) + whole // 7, rtol=1e-6)
    assert np.array_equal(shares, whole // 7)
