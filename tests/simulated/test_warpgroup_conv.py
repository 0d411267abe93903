"""Convolution by Hopper's matrix instruction in the simulator, beyond the layer's own small examples."""

from __future__ import annotations

import pytest
from test_tensor_cores import CASES, check

CONVOLUTIONS = [name for name, (layer, _, _) in CASES.items() if layer == "conv"]


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_shapes(name):
    check(name, "tf32_wgmma_128x64")


@pytest.mark.parametrize("variant", ["tf32_wgmma_128x96", "tf32_wgmma_128x128"])
def test_wider_tiles(variant):
    check("aligned, two tiles of columns", variant)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["tf32_wgmma_128x96", "tf32_wgmma_128x128"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_every_shape_with_wider_tiles(name, variant):
    check(name, variant)
