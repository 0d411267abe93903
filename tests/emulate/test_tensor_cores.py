"""Convolution and dense layers on tensor cores on the emulator: all shapes in all tiles."""

from __future__ import annotations

import pytest
from compiled import PRODUCTS, needs_compiler, product

from netspec.layers._cuda.mma_variants import CONFIGURATIONS, STORED

pytestmark = needs_compiler
LARGER = {
    "tiles of every kind, stages cut off": ("conv", {"filters": 200, "size": 3, "pad": 1}, (3, 9, 11, 20)),
    "as AlexNet's second": ("conv", {"filters": 32, "size": 5, "pad": 2, "groups": 2}, (2, 13, 13, 24)),
    "as AlexNet's first": ("conv", {"filters": 40, "size": 11, "stride": 4}, (2, 67, 67, 3)),
    "a dense layer of many stages": ("dense", {"units": 136}, (130, 3, 3, 60)),
}  # fmt: skip
CASES = {**PRODUCTS, **LARGER}
PAIRS = [
    pytest.param(name, variant, marks=[] if variant.endswith("_64x64") and name not in LARGER else [pytest.mark.slow])
    for variant in CONFIGURATIONS
    if variant not in STORED
    for name in CASES
]


@pytest.mark.parametrize(("name", "variant"), PAIRS)
def test_every_shape_with_every_tile(name, variant):
    product(name, variant, CASES)
