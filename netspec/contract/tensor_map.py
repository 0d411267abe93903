"""Tensor maps: how Hopper's tensor memory accelerator (TMA) finds boxes of an array in global memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Im2col:
    """The windows of a convolution over an NHWC array: a box is ``pixels`` windows' elements of one tap.

    Pairs are (width, height), as the map has its axes innermost first. ``lower`` and ``upper`` are the corners of the
    box that the first window's pixel and the last one's run in, against the image's corners (PTX ISA, im2col mode);
    ``stride`` is that of the windows.
    """

    lower: tuple[int, int]
    upper: tuple[int, int]
    stride: tuple[int, int]
    channels: int
    pixels: int


@dataclass(frozen=True, slots=True)
class TensorMap:
    """What a tensor map says of the array that the kernel takes as ``array``; sizes are innermost first.

    ``dims`` are elements along each axis, ``strides`` bytes from one to the next along all axes but the innermost one,
    which lies densely; ``box`` is what one copy brings: elements along each axis, or None for an ``im2col`` map.
    ``swizzle`` is the bytes within which 16-byte chunks are permuted: 0, 32, 64 or 128.
    """

    array: str
    dims: tuple[int, ...]
    strides: tuple[int, ...]
    box: tuple[int, ...] | None = None
    im2col: Im2col | None = None
    swizzle: int = 128
