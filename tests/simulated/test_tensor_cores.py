"""Convolution and dense layers on tensor cores in the simulator, beyond the layers' own small examples."""

from __future__ import annotations

import numpy as np
import pytest

from netspec.check.subject import Case, cpu, draw, gpu
from netspec.check.writes import trip
from netspec.contract.tensor import Tensor
from netspec.layers._cuda.implicit_gemm_shapes import divisor
from netspec.registry import layer_types

DEFAULTS = {"init": {"type": "gaussian", "std": 0.1}, "bias_init": 0.0, "bias": True, "groups": 1}
CONV = {**DEFAULTS, "stride": 1, "pad": 0, "rounding": "floor"}
CASES = {
    "runs as in conv1": ("conv", {"filters": 6, "size": [3, 11], "stride": 4, "rounding": "ceil"}, (1, 8, 20, 3)),
    "runs cut off on the left": ("conv", {"filters": 4, "size": [1, 3], "stride": 4, "pad": [0, 4]}, (1, 2, 8, 3)),
    "aligned, two tiles of columns": ("conv", {"filters": 68, "size": 1}, (1, 2, 3, 8)),
    "many slabs, two tiles of rows": ("conv", {"filters": 4, "size": 3, "pad": 1}, (2, 6, 6, 12)),
    "aligned groups": ("conv", {"filters": 8, "size": 2, "groups": 2, "stride": 2, "pad": 1}, (2, 4, 3, 16)),
    "odd groups": ("conv", {"filters": 6, "size": [2, 3], "groups": 2, "pad": [0, 1], "stride": [1, 2]}, (2, 3, 5, 6)),
    "a window smaller than its stride": ("conv", {"filters": 3, "size": 1, "stride": 2}, (1, 4, 3, 5)),
    "many images, weights of two tiles": ("dense", {"units": 72}, (18, 2, 3, 12)),
    "groups of an image": ("dense", {"units": 8, "groups": 2}, (3, 1, 2, 8)),
}  # fmt: skip
SMALLEST = "tf32_64x64"


@pytest.mark.parametrize("name", CASES)
def test_shapes(name):
    check(name, SMALLEST)


@pytest.mark.parametrize("variant", ["bf16_64x64", "tf32_128x64", "bf16_128x128"])
def test_precisions_and_tiles(variant):
    check("many slabs, two tiles of rows", variant)


@pytest.mark.slow
@pytest.mark.parametrize("tile", ["64x64", "128x64", "128x128", "256x128"])
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("name", CASES)
def test_every_shape_with_every_tile(name, precision, tile):
    check(name, f"{precision}_{tile}")


def check(name, variant):
    """Against plain kernels in float64, as a share of the sum of absolute terms; the same bits a second time."""
    layer, attrs, shape = CASES[name]
    known = {**(CONV if layer == "conv" else DEFAULTS), **attrs}
    case = Case(layer_types()[layer], known, (Tensor(shape, "float32"),))
    values = draw(case)
    card = case.on(gpu(), variant=variant)
    assert card.layer.supports(card.t, variant)
    host = case.on(cpu(), dtype="float64")
    expected = trip(host, values).written
    terms = trip(host, {key: np.abs(value) for key, value in values.items()}).written
    got = trip(card, values).written
    for key, value in expected.items():
        assert np.abs(got[key] - value).max() <= card.layer.bounds[variant] * terms[key].max(), key


def test_divisors():
    numbers = [0, 1, 2, 5, 1000, 2**31 - 1]
    for number in (1, 2, 3, 7, 27 * 27, 36, 55 * 55, 2**20 + 1):
        d, factor, shift = divisor(number)
        assert d == number and factor <= 2**32
        for n in {*numbers, number - 1, number, 10 * number - 1, 2**31 // number * number - 1}:
            assert n * factor >> shift == n // number
