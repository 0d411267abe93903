"""Kernels in Python, as numba-cuda and libNVVM really compile them, on the emulator; inline PTX included."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import launched, needs_compiler

from netspec.errors import NetspecError
from netspec.plugin import cp_async16, cp_async_commit, cp_async_wait, cuda, load4, shuffle_down

pytestmark = needs_compiler
RNG = np.random.default_rng(5)


def collatz(start, steps):
    i = cuda.grid(1)
    if i < start.size:
        value, count = start[i], 0
        while value != 1:
            value = value // 2 if value % 2 == 0 else 3 * value + 1
            count += 1
        steps[i] = count


def test_loops_of_their_own_length():
    start = np.arange(1, 301)
    steps = np.zeros(300, np.int64)
    launched(collatz, start, steps, threads=128, blocks=3)
    assert list(steps[:10]) == [0, 1, 7, 2, 5, 8, 16, 3, 19, 6] and steps[26] == 111


def total(values, sums):
    partial = cuda.shared.array(128, values.dtype)
    t = cuda.threadIdx.x
    partial[t] = values[cuda.grid(1)]
    width = 64
    while width > 0:
        cuda.syncthreads()
        if t < width:
            partial[t] += partial[t + width]
        width //= 2
    if t == 0:
        sums[cuda.blockIdx.x] = partial[0]


def test_sums_in_shared_memory():
    values, sums = RNG.integers(0, 100, 1280).astype(np.float32), np.zeros(10, np.float32)
    launched(total, values, sums, threads=128, blocks=10)
    assert np.array_equal(sums, values.reshape(10, 128).sum(axis=1))


def hasty(values, sums):
    partial = cuda.shared.array(128, values.dtype)
    t = cuda.threadIdx.x
    partial[t] = values[t]
    cuda.syncthreads()
    width = 64
    while width > 0:
        if t < width:
            partial[t] += partial[t + width]
        width //= 2
    sums[t] = partial[t]


def test_a_sum_that_leaves_out_its_barriers_is_a_race():
    with pytest.raises(NetspecError, match=r"has a race on partial\[32\] \(partial is \(128,\)\): read by thread 0"):
        launched(hasty, np.ones(128, np.float32), np.ones(128, np.float32), threads=128)


def by_shuffles(values, sums):
    value = values[cuda.grid(1)]
    value += shuffle_down(value, 16)
    value += shuffle_down(value, 8)
    value += shuffle_down(value, 4)
    value += shuffle_down(value, 2)
    value += shuffle_down(value, 1)
    if cuda.threadIdx.x % 32 == 0:
        sums[cuda.grid(1) // 32] = value


def test_sums_by_shuffles():
    values, sums = RNG.integers(0, 100, 256).astype(np.float32), np.zeros(8, np.float32)
    launched(by_shuffles, values, sums, threads=64, blocks=4)
    assert np.array_equal(sums, values.reshape(8, 32).sum(axis=1))


def misaligned(values, target):
    target[cuda.threadIdx.x] = load4(values, cuda.threadIdx.x)[0]


def test_four_at_once_from_the_wrong_place():
    with pytest.raises(NetspecError, match=r"of 16 bytes: 4 elements from values\[1\] .*thread 1"):
        launched(misaligned, np.ones(64, np.float32), np.ones(32, np.float32))


def beyond(values, target):
    target[cuda.threadIdx.x] = values[cuda.threadIdx.x + 1] + values[1000000]


def test_reading_beyond_an_array():
    with pytest.raises(NetspecError, match=r"reads outside an array: values\[\d+\] \(values is \(32,\)\)"):
        launched(beyond, np.ones(32, np.float32), np.ones(32, np.float32))


def impatient(values, target, pending):
    tile = cuda.shared.array(128, values.dtype, alignment=16)
    t = cuda.threadIdx.x
    cp_async16(tile, 4 * t, values, 4 * t, 4)
    cp_async_commit()
    if pending == 0:
        cp_async_wait(0)
    else:
        cp_async_wait(1)
    cuda.syncthreads()
    target[t] = tile[4 * t + 3] + tile[127 - t]


def test_a_wait_for_too_few_copies():
    values, target = np.arange(128, dtype=np.float32), np.zeros(32, np.float32)
    launched(impatient, values, target, 0)
    assert np.array_equal(target, values[3::4] + values[127:95:-1])
    with pytest.raises(NetspecError, match=r"tile\[\d+\] \(tile is \(128,\)\), which is still being copied"):
        launched(impatient, values, target, 1)
