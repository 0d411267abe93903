"""Hopper's matrix instruction on the emulator: the very PTX of convolutions, and what it must not be done with."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import PRODUCTS, launched, needs_compiler, product

from netspec.errors import NetspecError
from netspec.plugin import Lazy, cuda

pytestmark = needs_compiler
BLOCKS, COLUMNS = 2, 24
LEFT = 64 * BLOCKS * 16
SIZE = LEFT + COLUMNS * 16
zeros = Lazy("netspec.kernels.warp_tiles", "zeros", (BLOCKS * COLUMNS // 2,))
multiply, wait = (Lazy("netspec.kernels.warpgroup", name, (BLOCKS, COLUMNS)) for name in ("multiply", "wait"))
store = Lazy("netspec.kernels.warpgroup", "store", (BLOCKS, COLUMNS, COLUMNS))
fence, rounded = (Lazy("netspec.kernels.warpgroup", name) for name in ("fence", "rounded"))
FENCED, TOGETHER, UNTOUCHED, WAITED = 1, 2, 4, 8
"""What a kernel does as it should."""
RIGHT = FENCED | TOGETHER | UNTOUCHED | WAITED


def stage(source, target, shift, what, times):
    shared = cuda.shared.array(SIZE, source.dtype, alignment=1024)
    t = cuda.threadIdx.x
    for i in range(t, SIZE, 128):
        line = i // 16
        shared[16 * line + 4 * (i % 16 // 4 ^ line // 2 % 4) + i % 4] = source[i]
    if what & FENCED:
        fence()
    if what & TOGETHER:
        cuda.syncthreads()
    sums = zeros()
    for _ in range(times):
        sums = multiply(shared, shift, LEFT, sums)
        if not what & UNTOUCHED and t == 0:
            shared[3] = 0.5
        if what & WAITED:
            sums = wait(sums)
    for block in range(BLOCKS):
        store(target, (64 * block + t // 32 * 16 + t % 32 // 4) * COLUMNS + t % 4 * 2, sums, block)


def run(what=RIGHT, shift=0, times=1):
    source = np.random.default_rng(1).standard_normal(SIZE).astype(np.float32)
    target = np.zeros((64 * BLOCKS, COLUMNS), np.float32)
    launched(stage, source, target.reshape(-1), shift, what, times, threads=128)
    return source, target


@pytest.mark.parametrize("times", [1, 2])
def test_a_product_is_that_of_numbers_cut_off_to_tf32(times):
    source, target = run(times=times)
    cut = (source.view(np.uint32) >> 13 << 13).view(np.float32).astype(np.float64)
    wanted = times * cut[:LEFT].reshape(-1, 16) @ cut[LEFT:].reshape(-1, 16).T
    np.testing.assert_allclose(target, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        (FENCED, "no fence.proxy.async behind"),
        (TOGETHER, r"has a race on 4 elements from shared\[0\]"),
        (UNTOUCHED, "has a race|has changed under a product"),
    ],
)
def test_what_hardware_leaves_undefined_is_a_fault(left_out, words):
    with pytest.raises(NetspecError, match=words):
        run(RIGHT & ~left_out)


def test_sums_must_be_waited_for():
    with pytest.raises(NetspecError, match=r"to which line .* is still adding"):
        run(RIGHT & ~WAITED)


def test_an_operand_begins_where_the_pattern_does():
    with pytest.raises(NetspecError, match="does not begin where the pattern"):
        run(shift=16)


def nearest(source, target):
    i = cuda.threadIdx.x
    target[i] = rounded(source[i])


def test_rounded_numbers_are_the_nearest_tf32():
    values = np.array([1, 1 + 2**-11, 1 + 2**-11 - 2**-23, -3.1415927, 2**-130, np.inf, 0], np.float32)
    target = np.zeros_like(values)
    launched(nearest, values, target, threads=7)
    assert target[:3].tolist() == [1, 1 + 2**-10, 1]
    assert not (target.view(np.uint32) & 0x1FFF).any()
    np.testing.assert_allclose(target[:4], values[:4], rtol=2**-11)
    assert target[5] == np.inf and target[6] == 0


CONVOLUTIONS = [name for name, (layer, attrs, _) in PRODUCTS.items() if layer == "conv" and "dilation" not in attrs]
LARGEST = "tf32_wgmma_128x128", "tf32_wgmma_128x96", "tf32_wgmma_128x128_uncached"


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name):
    product(name, "tf32_wgmma_128x64")


@pytest.mark.slow
@pytest.mark.parametrize("variant", LARGEST)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_in_the_largest_tile(name, variant):
    product(name, variant)
