"""The sizes of a dense layer's product, which kernels cannot read off tensors that are given as one axis."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple


class Sizes(NamedTuple):
    """Rows of x; pixels of an image, channels of a group; units of all groups."""

    batch: int
    pixels: int
    depth: int
    units: int
    groups: int


def sizes_of(t: Any) -> Sizes:
    """Those of a layer's tensors."""
    *pixels, depth, units = t.weight.shape
    return Sizes(t.x.shape[0], prod(pixels), depth, units, t.x.shape[-1] // depth)
