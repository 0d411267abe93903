"""The stand-in driver's tensor maps: in the emulator's own encoding."""

from __future__ import annotations

import ctypes

from stand_in.cards import INVALID_VALUE, cards, function
from stand_in.queues import DriverError

_SIZES = {7: 4, 9: 2}
"""Bytes of float32 and bfloat16, by CUtensorMapDataType."""
_SWIZZLES = (0, 32, 64, 128)


def _numbers(kind, place, count):
    return tuple((kind * count).from_address(place))


def _encode(place, kind, rank, address, dims, strides, box, swizzle, **windows):
    from netspec.emulate.map_encoding import encode

    cards.device()  # one is asked for what it can do
    if place % 64 or kind not in _SIZES or cards.where(address) is None:
        raise DriverError(INVALID_VALUE, f"a map at {place:#x} of type {kind} for {address:#x}")
    sizes = _numbers(ctypes.c_uint64, dims, rank), _numbers(ctypes.c_uint64, strides, rank - 1)
    try:
        encoded = encode(address, _SIZES[kind], *sizes, box, _SWIZZLES[swizzle], **windows)
    except ValueError as error:
        raise DriverError(INVALID_VALUE, str(error)) from error
    ctypes.memmove(place, encoded.ctypes.data, 128)


@function("piupppppiiii")
def cuTensorMapEncodeTiled(place, kind, rank, address, dims, strides, box, steps, interleave, swizzle, promotion, fill):
    if interleave or fill or _numbers(ctypes.c_uint32, steps, rank) != (1,) * rank:
        raise DriverError(INVALID_VALUE, "interleaving, filling and strides of elements are not known here")
    _encode(place, kind, rank, address, dims, strides, _numbers(ctypes.c_uint32, box, rank), swizzle)


@function("piupppppuupiiii")
def cuTensorMapEncodeIm2col(
    place, kind, rank, address, dims, strides, lower, upper, channels, pixels, steps, interleave, swizzle, promotion,
    fill,
):  # fmt: skip
    every = _numbers(ctypes.c_uint32, steps, rank)
    if interleave or fill or every[0] != 1 or every[-1] != 1:
        raise DriverError(INVALID_VALUE, "interleaving, filling and strides of channels or images are not known here")
    corners = (_numbers(ctypes.c_int32, one, rank - 2) for one in (lower, upper))
    given = dict(zip(("lower", "upper"), corners, strict=True), step=every[1:-1])
    _encode(place, kind, rank, address, dims, strides, (channels, pixels), swizzle, **given)
