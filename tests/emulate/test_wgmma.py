"""Hopper's matrix instruction on the emulator: the very PTX of convolutions, and what it must not be done with."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")
from emulated import python, simulators_tests

from netspec.device.emulated.device import EmulatedCuda
from netspec.device.gpus import finds_compiler
from netspec.emulate import Fault
from netspec.kernels import numba_cuda
from netspec.plugin import Lazy, cuda

pytestmark = [
    pytest.mark.skipif(not finds_compiler(), reason="the CUDA compiler is not installed: pip install 'netspec[gates]'"),
    pytest.mark.skipif(numba_cuda.SIMULATOR, reason="kernels are simulated"),
]
COLUMNS = 16
LEFT = 64 * 16
SIZE = LEFT + COLUMNS * 16
zeros = Lazy("netspec.kernels.warp_tiles", "zeros", (COLUMNS // 2,))
multiply, wait = (Lazy("netspec.kernels.warpgroup", name, (1, COLUMNS)) for name in ("multiply", "wait"))
store = Lazy("netspec.kernels.warpgroup", "store", (1, COLUMNS, COLUMNS))
fence = Lazy("netspec.kernels.warpgroup", "fence")
FENCED, TOGETHER, UNTOUCHED, WAITED = 1, 2, 4, 8
"""What a kernel does as it should."""
RIGHT = FENCED | TOGETHER | UNTOUCHED | WAITED


def product(source, target, shift, what):
    shared = cuda.shared.array(SIZE, source.dtype, alignment=1024)
    t = cuda.threadIdx.x
    for i in range(t, SIZE, 128):
        line = i // 16
        shared[16 * line + 4 * (i % 16 // 4 ^ line // 2 % 4) + i % 4] = source[i]
    if what & FENCED:
        fence()
    if what & TOGETHER:
        cuda.syncthreads()
    sums = multiply(shared, shift, LEFT, zeros())
    if not what & UNTOUCHED and t == 0:
        shared[3] = 0.5
    if what & WAITED:
        sums = wait(sums)
    store(target, (t // 32 * 16 + t % 32 // 4) * COLUMNS + t % 4 * 2, sums, 0)


def run(what=RIGHT, shift=0):
    source = np.random.default_rng(1).standard_normal(SIZE).astype(np.float32)
    target = np.zeros((64, COLUMNS), np.float32)
    python(product, source, target.reshape(-1), shift, what, threads=128)
    return source, target


def test_a_product_is_that_of_numbers_cut_off_to_tf32():
    source, target = run()
    cut = (source.view(np.uint32) >> 13 << 13).view(np.float32).astype(np.float64)
    wanted = cut[:LEFT].reshape(-1, 16) @ cut[LEFT:].reshape(-1, 16).T
    np.testing.assert_allclose(target, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        (FENCED, "no fence.proxy.async behind"),
        (TOGETHER, "race: shared memory"),
        (UNTOUCHED, "race: shared memory|has changed under a product"),
    ],
)
def test_what_hardware_leaves_undefined_is_a_fault(left_out, words):
    with pytest.raises(Fault, match=words):
        run(RIGHT & ~left_out)


def test_sums_must_be_waited_for():
    with pytest.raises(Fault, match=r"to which line .* is still adding"):
        run(RIGHT & ~WAITED)


def test_an_operand_begins_where_the_pattern_does():
    with pytest.raises(Fault, match="does not begin where the pattern"):
        run(shift=16)


CASES = simulators_tests("test_tensor_cores").CASES
CONVOLUTIONS = [name for name, (layer, _, _) in CASES.items() if layer == "conv"]


def _check(monkeypatch, name, variant):
    module = simulators_tests("test_tensor_cores")
    card = EmulatedCuda()
    monkeypatch.setattr(module, "gpu", lambda: card)
    module.check(name, variant)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name, monkeypatch):
    _check(monkeypatch, name, "tf32_wgmma_128x64")


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["tf32_wgmma_128x128", "tf32_wgmma_128x96", "tf32_wgmma_128x128_uncached"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_in_the_largest_tile(name, variant, monkeypatch):
    _check(monkeypatch, name, variant)
