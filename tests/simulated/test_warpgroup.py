"""The twin of Hopper's matrix instruction, against products in numpy and the PTX ISA's figures written out here."""

from __future__ import annotations

import numpy as np
import pytest

from netspec.kernels.cuda import compile_cuda
from netspec.plugin import Lazy, cuda, store4

BLOCKS, COLUMNS = 2, 24
PITCH = COLUMNS + 8
LEFT, RIGHT = 64 * BLOCKS * 16, COLUMNS * 16
SIZE, BEHIND = LEFT + RIGHT, 64 * PITCH
zeros = Lazy("netspec.kernels.warp_tiles", "zeros", (BLOCKS * COLUMNS // 2,))
multiply = Lazy("netspec.kernels.warpgroup", "multiply", (BLOCKS, COLUMNS))
wait = Lazy("netspec.kernels.warpgroup", "wait", (BLOCKS, COLUMNS))
store = Lazy("netspec.kernels.warpgroup", "store", (BLOCKS, COLUMNS, PITCH))
fence, rounded = (Lazy("netspec.kernels.warpgroup", name) for name in ("fence", "rounded"))


def product(source, target, right, spoil, twice):
    shared = cuda.shared.array(SIZE, source.dtype, alignment=1024)
    rows = cuda.shared.array(BEHIND, source.dtype, alignment=1024)
    t = cuda.threadIdx.x
    for four in range(t, SIZE // 4, 128):
        line = four // 4
        place = 16 * line + 4 * (four % 4 ^ line // 2 % 4)
        a = source[4 * four], source[4 * four + 1], source[4 * four + 2], source[4 * four + 3]
        store4(shared, place, a[0], a[1], a[2], a[3])
    fence()
    cuda.syncthreads()
    sums = zeros()
    for _ in range(twice):
        sums = multiply(shared, 0, right, sums)
        if spoil and t == 5:
            shared[7] = 0.5
        sums = wait(sums)
    for block in range(BLOCKS):
        cuda.syncthreads()
        store(rows, (t // 32 * 16 + t % 32 // 4) * PITCH + t % 4 * 2, sums, block)
        cuda.syncthreads()
        for i in range(t, 64 * COLUMNS, 128):
            target[64 * block + i // COLUMNS, i % COLUMNS] = rows[i // COLUMNS * PITCH + i % COLUMNS]


def run(right=LEFT, spoil=0, twice=1):
    source = np.random.default_rng(3).standard_normal(SIZE).astype(np.float32)
    target = np.full((64 * BLOCKS, COLUMNS), np.nan, np.float32)
    compile_cuda(product, "float32")[1, 128](source, target, right, spoil, twice)
    return source, target


@pytest.mark.parametrize("twice", [1, 2])
def test_products_are_those_of_numbers_cut_off_to_tf32(twice):
    source, target = run(twice=twice)
    exact = (source.view(np.uint32) >> 13 << 13).view(np.float32).astype(np.float64)
    left, right = exact[:LEFT].reshape(-1, 16), exact[LEFT:].reshape(-1, 16)
    np.testing.assert_allclose(target, twice * left @ right.T, rtol=0, atol=1e-5)


def test_operands_that_change_under_way_are_found():
    with pytest.raises(RuntimeError, match="changed under a product"):
        run(spoil=1)


def test_operands_begin_at_multiples_of_1024_bytes():
    with pytest.raises(ValueError, match="no multiple of 1024"):
        run(right=LEFT - 16)


def nearest(source, target):
    i = cuda.grid(1)
    if i < source.size:
        target[i] = rounded(source[i])


def test_rounded_numbers_are_the_nearest_tf32():
    values = np.array([1, 1 + 2**-11, 1 + 2**-11 - 2**-23, -3.1415927, 2**-130, np.inf, 0], np.float32)
    target = np.zeros_like(values)
    compile_cuda(nearest, "float32")[1, 32](values, target)
    assert target[:3].tolist() == [1, 1 + 2**-10, 1]
    assert not (target.view(np.uint32) & 0x1FFF).any()
    np.testing.assert_allclose(target[:4], values[:4], rtol=2**-11)
    assert target[5] == np.inf and target[6] == 0
