"""Convolution by Hopper's matrix instruction in the simulator; all shapes with all tiles run on the emulator."""

from __future__ import annotations

import pytest
from test_tensor_cores import check


@pytest.mark.parametrize("name", ["odd groups", "many slabs, two tiles of rows"])
def test_shapes(name):
    check(name, "tf32_wgmma_128x64")


@pytest.mark.parametrize("variant", ["tf32_wgmma_128x96", "tf32_wgmma_128x128"])
def test_wider_tiles(variant):
    check("aligned, two tiles of columns", variant)
