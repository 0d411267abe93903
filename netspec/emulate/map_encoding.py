"""Tensor maps of the emulated card: an encoding of its own for the 128 bytes that only the driver can write, and TMA.

A box of an array in global memory is read row by row of its innermost axis; what lies outside the array is zero
(CUDA driver API, cuTensorMapEncodeTiled and cuTensorMapEncodeIm2col; PTX ISA 5.5).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from netspec.emulate.memory import Array

_MAGIC = 0x6E65747370656320
LAYOUT = np.dtype(
    [
        ("magic", "u8"),
        ("address", "u8"),
        ("rank", "u2"),
        ("itemsize", "u2"),
        ("swizzle", "u2"),
        ("im2col", "u2"),
        ("dims", "u4", 5),
        ("strides", "u8", 5),
        ("box", "u2", 5),
        ("lower", "i2", 3),
        ("upper", "i2", 3),
        ("step", "u2", 3),
        ("unused", "u1", 16),
    ]
)
"""``box``: elements along each axis; of im2col, channels and pixels. ``step``: strides of the windows."""


class Box(NamedTuple):
    """What a copy reads: addresses of elements' runs along the innermost axis, and where their bytes go in the box."""

    addresses: Array
    places: Array
    run: int
    """Bytes of a run that lies in the array."""
    shape: tuple[int, int]
    """Rows, and bytes of a row."""


class Map:
    """A decoded tensor map; axes innermost first."""

    def __init__(self, encoded: Array) -> None:
        """Decode 128 bytes; ValueError where they hold no map."""
        (one,) = encoded.view(LAYOUT)
        if int(one["magic"]) != _MAGIC:
            raise ValueError("is no tensor map")
        rank = int(one["rank"])
        self.address, self.itemsize, self.swizzle = (int(one[name]) for name in ("address", "itemsize", "swizzle"))
        self.im2col = bool(one["im2col"])
        self.dims, self.strides = (one[name][:rank].astype(np.int64) for name in ("dims", "strides"))
        self.box = one["box"][: 2 if self.im2col else rank].astype(np.int64)
        space = ("lower", "upper", "step")
        self.lower, self.upper, self.step = (one[name][: rank - 2].astype(np.int64) for name in space)

    @property
    def rank(self) -> int:
        """Axes of the array."""
        return len(self.dims)

    @property
    def nbytes(self) -> int:
        """Bytes of a box."""
        return int(np.prod(self.box)) * self.itemsize

    def read(self, at: Array, taps: Array) -> Box:
        """The box at coordinates ``at``; of im2col the window's element at offsets ``taps``."""
        rows, inside = self._windows(at, taps) if self.im2col else self._tile(at)
        first, last = max(int(at[0]), 0), min(int(at[0] + self.box[0]), int(self.dims[0]))
        run = max(last - first, 0) * self.itemsize
        width = int(self.box[0]) * self.itemsize
        kept = np.flatnonzero(inside) if run else np.zeros(0, np.int64)
        begin = (first - int(at[0])) * self.itemsize
        return Box(rows[kept] + self.address + first * self.itemsize, kept * width + begin, run, (len(rows), width))

    def _tile(self, at: Array) -> tuple[Array, Array]:
        """Offsets of the rows of a box, outermost axis slowest, and which lie in the array."""
        offsets, inside = np.zeros(1, np.int64), np.ones(1, bool)
        for axis in range(1, self.rank):
            places = at[axis] + np.arange(self.box[axis])
            within = (places >= 0) & (places < self.dims[axis])
            offsets = (places * self.strides[axis])[:, None] + offsets
            inside = within[:, None] & inside
            offsets, inside = offsets.reshape(-1), inside.reshape(-1)
        return offsets, inside

    def _windows(self, at: Array, taps: Array) -> tuple[Array, Array]:
        """Pixels in raster order through the bounding box of windows' corners, image after image."""
        extents = self.dims[1:-1]
        counts = (extents - 1 + self.upper - self.lower) // self.step + 1
        number = int(at[-1])
        for axis in reversed(range(len(counts))):
            number = number * int(counts[axis]) + int((at[axis + 1] - self.lower[axis]) // self.step[axis])
        rest = number + np.arange(self.box[1])
        offsets, inside = np.zeros(len(rest), np.int64), np.ones(len(rest), bool)
        for axis, count in enumerate(counts):
            places = self.lower[axis] + rest % count * self.step[axis] + int(taps[axis])
            inside &= (places >= 0) & (places < extents[axis])
            offsets += places * self.strides[axis + 1]
            rest = rest // count
        inside &= (rest >= 0) & (rest < self.dims[-1])
        return offsets + rest * self.strides[-1], inside


def encode(
    address: int,
    itemsize: int,
    dims: tuple[int, ...],
    strides: tuple[int, ...],
    box: tuple[int, ...],
    swizzle: int,
    lower: tuple[int, ...] | None = None,
    upper: tuple[int, ...] = (),
    step: tuple[int, ...] = (),
) -> Array:
    """128 bytes, uint8, that stand for a tensor map; sizes innermost first, ``strides`` in bytes without the first.

    With ``lower`` it is one for im2col: ``box`` is then (channels, pixels). Raises ValueError for a box whose rows do
    not fill the swizzling pattern: how they would lie is not known here.
    """
    inner = box[0] * itemsize
    if swizzle and inner != swizzle:
        raise ValueError(f"rows of {inner} bytes under a swizzle of {swizzle} are not known to the emulator")
    one = np.zeros(1, LAYOUT)
    one["magic"], one["address"], one["rank"] = _MAGIC, address, len(dims)
    one["itemsize"], one["swizzle"], one["im2col"] = itemsize, swizzle, lower is not None
    sizes = {"dims": dims, "strides": (itemsize, *strides), "box": box}
    for name, values in {**sizes, "lower": lower or (), "upper": upper, "step": step}.items():
        one[name][0, : len(values)] = values
    return one.view(np.uint8)


def swizzled(places: Array, swizzle: int) -> Array:
    """Addresses in shared memory at which 16-byte units lie: bits 4 and up are exclusive-ored with bits 7 and up."""
    swapped: Array = places ^ (places >> 7 & {128: 7, 64: 3, 32: 1, 0: 0}[swizzle]) << 4
    return swapped
