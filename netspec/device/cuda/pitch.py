"""Pitched layouts of arrays and slices: rows of bytes at a regular distance, as the driver's 2D copies take them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple


class Pitched(NamedTuple):
    """``rows`` runs of ``width`` bytes, whose starts are ``pitch`` bytes apart."""

    rows: int
    width: int
    pitch: int

    def cut(self, width: int) -> Pitched:
        """The same bytes in rows of that width; ValueError where they do not lie so."""
        if self.width == width:
            return self
        if self.rows != 1 or self.width % width:
            raise ValueError(f"{self.rows} rows of {self.width} bytes cannot be cut into rows of {width} bytes")
        return Pitched(self.width // width, width, width)


def pitched(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> Pitched:
    """How the elements of an array lie: one row when it is contiguous, more when it is a slice along one axis.

    Strides are in bytes. ValueError when the array was sliced along two axes.
    """
    axes = [(size, stride) for size, stride in zip(shape, strides, strict=True) if size != 1]
    width = itemsize
    while axes and axes[-1][1] == width:
        width *= axes.pop()[0]
    if not axes:
        return Pitched(1, width, width)
    pitch = span = axes[-1][1]
    for size, stride in reversed(axes):
        if stride != span:
            raise ValueError(f"an array of shape {tuple(shape)} with strides {tuple(strides)} is sliced along two axes")
        span *= size
    return Pitched(prod(size for size, _ in axes), width, pitch)


def common(target: Pitched, source: Pitched) -> tuple[Pitched, Pitched]:
    """Both with rows of one width; ValueError where no such cut exists."""
    width = min(target.width, source.width)
    return target.cut(width), source.cut(width)
