"""Convolution by Hopper's matrix instruction in the simulator, beyond the layer's own small examples."""

from __future__ import annotations

import pytest
from test_tensor_cores import CASES, check

CONVOLUTIONS = [name for name, (layer, _, _) in CASES.items() if layer == "conv"]


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_shapes(name):
    check(name, "tf32_wgmma_128x64")


def test_the_largest_tile():
    check("aligned, two tiles of columns", "tf32_wgmma_128x128")


@pytest.mark.slow
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_every_shape_with_the_largest_tile(name):
    check(name, "tf32_wgmma_128x128")
