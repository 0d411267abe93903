"""Implicit GEMM: convolution as a product of matrices that are never laid out, and the numbers that locate elements.

Rows of the product (M) are positions of a window, its columns (N) filters, its terms (K) the window's elements. Terms
lie in runs: stretches of memory that a window reads whole. Without groups a run is a row of the window, all its pixels
with all their channels; with groups, or where a window leaves out pixels of a row, it is one pixel's channels of the
group. Runs are counted as if they took a multiple of 16 bytes, so that each 16 bytes of terms are of one run: a window
of 11 x 11 pixels with 3 channels has 11 runs of 33 terms, in float32 counted as 36, which on AlexNet's images start at
multiples of 16 bytes.

All numbers go to kernels in named tuples. Numbers that others are divided by come with a factor and a shift, see
``divisor``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd, prod
from typing import Any, NamedTuple

INDEX_LIMIT = 1 << 31
"""Elements of a tensor from which on indices would need more than 31 bits."""
SCALAR, FLOAT4, PARTIAL, PAIRS = 0, 1, 2, 3
"""Alignment of operands: one element at a time; 16 bytes, all of which are there or none; or the last ones cut off.
Those of 2 bytes: two at a time, the last one alone."""


class Image(NamedTuple):
    """The image that windows read, ``depth`` channels of which are a group's.

    Places in a row of the image are counted in elements where a window's row is one run, else in pixels: a pixel is
    ``scale`` of them, a row ``edge``.
    """

    height: int
    width: int
    channels: int
    depth: int
    scale: int
    edge: int
    alignment: int


class Runs(NamedTuple):
    """A window's terms: elements of a run, the same as counted, runs of a row of the window, rows of the window.

    ``apart``: pixels from a row of the window to the next, and from a run to the next.
    """

    length: int
    padded: int
    padded_factor: int
    padded_shift: int
    per_row: int
    per_row_factor: int
    per_row_shift: int
    rows: int
    apart_h: int
    apart_w: int


class Positions(NamedTuple):
    """Positions of the window: all, of an image, of a row; pixels from one to the next, and before the first one."""

    count: int
    per_image: int
    per_image_factor: int
    per_image_shift: int
    per_row: int
    per_row_factor: int
    per_row_shift: int
    step_h: int
    step_w: int
    lead_h: int
    lead_w: int


class Columns(NamedTuple):
    """Columns of the product: those of a group, elements from row to row in memory, and their alignment."""

    share: int
    pitch: int
    alignment: int


class Classes(NamedTuple):
    """For d_x: pixels fall into stride_h x stride_w classes, those of a class lie in windows by the same taps.

    These are ``step`` apart, and ``dilation`` pixels lie between neighbouring taps.
    """

    stride_h: int
    stride_w: int
    residue_h: int
    residue_w: int
    size_h: int
    size_w: int
    height: int
    width: int
    groups: int
    dilation_h: int
    dilation_w: int
    step_h: int
    step_w: int


def divisor(number: int) -> tuple[int, int, int]:
    """(d, f, s) such that ``n * f >> s`` is n // d for all n below 2 ** 31 (Granlund and Montgomery 1994)."""
    shift = 31 + (number - 1).bit_length()
    return number, -(-(1 << shift) // number), shift


@dataclass(frozen=True)
class Geometry:
    """A convolution's sizes; pairs are (height, width). Dense layers are convolutions with one position."""

    batch: int
    image: tuple[int, int]
    channels: int
    filters: int
    groups: int
    size: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    out: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)
    unit: int = 4
    """Elements of 16 bytes: 8 where activations are bfloat16."""

    @property
    def positions(self) -> int:
        """Rows of the forward product."""
        return self.batch * prod(self.out)

    @property
    def depth(self) -> int:
        """Channels of a group."""
        return self.channels // self.groups

    @property
    def share(self) -> int:
        """Filters of a group."""
        return self.filters // self.groups

    @property
    def run(self) -> tuple[int, int]:
        """Pixels and elements of a run."""
        span = self.size[1] if self.groups == 1 and self.dilation[1] == 1 else 1
        return span, span * self.depth

    @property
    def patch(self) -> int:
        """Terms of a window as they are counted."""
        span, length = self.run
        return self.size[0] * (self.size[1] // span) * self._whole(length)

    @property
    def residues(self) -> tuple[int, int]:
        """Pixels by which the first window's start lies off a multiple of the stride."""
        return self.pad[0] % self.stride[0], self.pad[1] % self.stride[1]

    @property
    def cells(self) -> tuple[int, int]:
        """Blocks of stride x stride pixels that cover the image: pixels of one place in them have the same taps."""
        pairs = zip(self.image, self.residues, self.stride, strict=True)
        height, width = ((length + residue - 1) // stride + 1 for length, residue, stride in pairs)
        return height, width

    @property
    def taps(self) -> tuple[int, int]:
        """The most windows of a column and of a row that one pixel lies in."""
        pairs = zip(self.size, self._steps, strict=True)
        height, width = (-(-size // step) for size, step in pairs)
        return height, width

    @property
    def _steps(self) -> tuple[int, int]:
        """Taps from one that a pixel lies in windows by to the next."""
        pairs = zip(self.stride, self.dilation, strict=True)
        height, width = (stride // gcd(stride, dilation) for stride, dilation in pairs)
        return height, width

    @property
    def fits(self) -> bool:
        """Whether all indices fit in 31 bits, those of windows that reach beyond an image included."""
        images = prod(self.image) * self.channels, prod(self.out) * self.filters
        beyond = 2 + max(self.size) * max(self.dilation) // min(*self.image, *self.out)
        weights = self.filters * self.patch
        return max((self.batch + beyond) * size for size in images) < INDEX_LIMIT and weights < INDEX_LIMIT

    @functools.cache  # noqa: B019  of a few numbers
    def scalars(self) -> Mapping[str, tuple[int, ...]]:
        """The named tuples by the names under which kernels take them; ``back_`` for d_x."""
        (height, width), (span, length), strides = self.image, self.run, self.stride
        per_row = self.size[1] // span
        scale = length // span if per_row == 1 else 1
        back = self.share if self.taps[1] == 1 else 1
        lead = (-(self.pad[0] // strides[0]), -(self.pad[1] // strides[1]))
        filters, steps = self._alignment(self.filters, self.share), self._steps
        back_apart = (self.dilation[0] * steps[0] // strides[0], self.dilation[1] * steps[1] // strides[1])
        return {
            "image": Image(height, width, self.channels, self.depth, scale, width * scale, self._image_alignment()),
            "runs": Runs(length, *divisor(self._whole(length)), *divisor(per_row), self.size[0], *self.dilation),
            "positions": self._positions(self.out, self.stride, self.pad),
            "columns": Columns(self.share, self.filters, filters),
            "back_image": Image(*self.out, self.filters, self.share, back, self.out[1] * back, filters),
            "back_runs": Runs(
                self.share, *divisor(self._whole(self.share)), *divisor(self.taps[1]), self.taps[0], *back_apart
            ),
            "back_positions": self._positions(self.cells, (1, 1), lead),
            "back_columns": Columns(self.depth, self.channels, FLOAT4 if self.depth % 4 == 0 else SCALAR),
            "classes": Classes(
                *strides, *self.residues, *self.size, height, width, self.groups, *self.dilation, *steps
            ),
        }

    def _positions(self, grid: tuple[int, int], step: tuple[int, int], lead: tuple[int, int]) -> Positions:
        return Positions(self.batch * prod(grid), *divisor(prod(grid)), *divisor(grid[1]), *step, *lead)

    def _whole(self, count: int) -> int:
        """Rounded up to a multiple of 16 bytes."""
        return -(-count // self.unit) * self.unit

    def _alignment(self, *distances: int) -> int:
        """That of what lies so many elements apart."""
        if all(distance % self.unit == 0 for distance in distances):
            return FLOAT4
        is_even = self.unit == 8 and all(distance % 2 == 0 for distance in distances)
        return PAIRS if is_even else SCALAR

    def _image_alignment(self) -> int:
        """That of the starts of all runs, also where the image cuts off their beginning."""
        if self.groups > 1 or self.run[0] < self.size[1]:
            return self._alignment(self.depth)
        found = self._alignment(*(pixels * self.channels for pixels in (self.stride[1], self.pad[1], self.image[1])))
        if found == FLOAT4 and self.run[1] % self.unit:
            return PARTIAL if self.unit == 4 else PAIRS
        return found


def of_conv(t: Any, window: Any, groups: int) -> Geometry:
    """A convolution's."""
    batch, height, width, channels = t.x.shape
    sizes = window.size, window.stride, window.pad, window.out, window.dilation
    return Geometry(batch, (height, width), channels, t.weight.shape[3], groups, *sizes, _unit(t))


def _unit(t: Any) -> int:
    return 8 if t.x.dtype == "bfloat16" else 4


def of_dense(t: Any, groups: int) -> Geometry:
    """A dense layer's: its window is the whole image; without groups, all of the image is one pixel."""
    *pixels, depth, units = t.weight.shape
    height, width = pixels if pixels and groups > 1 else (1, 1)
    channels = depth * groups if groups > 1 else prod(pixels) * depth
    whole = (height, width)
    return Geometry(t.x.shape[0], whole, channels, units, groups, whole, whole, (0, 0), (1, 1), unit=_unit(t))
