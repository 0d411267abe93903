"""Tensor maps in the form that the hardware reads, made by the driver: cuTensorMapEncodeTiled and -Im2col.

They are called by ctypes: a CUtensorMap of cuda-bindings (13.0 for one) does not lie at a multiple of 64 bytes, where
the driver wants it. Limits are those of NVIDIA's CUDA driver API reference, section "Tensor Map Object Management".
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from netspec.contract.tensor import itemsize
from netspec.contract.tensor_map import Im2col, TensorMap
from netspec.device.base import Array, Device
from netspec.device.cuda.arguments import address
from netspec.device.gpus import library

Encoded = np.ndarray[Any, Any]
NBYTES = 128
_ALIGNMENT = 64
_KINDS = {"float32": 7, "bfloat16": 9}
"""CUtensorMapDataType by the array's dtype."""
_SWIZZLES = {0: 0, 32: 1, 64: 2, 128: 3}
_INTERLEAVE, _L2_PROMOTION, _FILL = 0, 3, 0
"""No interleaving; lines of 256 bytes are brought to the L2 cache; zeros stand for what lies outside."""
_CORNERS = {1: 1 << 15, 2: 1 << 7, 3: 1 << 4}
"""Axes of space -> corners of an im2col box lie in [-limit, limit)."""


def put(device: Device, one: TensorMap, array: Array, encode: Callable[[TensorMap, Array], Encoded]) -> Array:
    """A map in a device's memory, as a kernel takes it. Raises ValueError for a map that there cannot be."""
    problem = next(problems(one, str(array.dtype)), None)
    if problem is not None:
        raise ValueError(problem)
    if address(array) % 16:
        raise ValueError(f"'{one.array}' does not begin at a multiple of 16 bytes")
    encoded, held = encode(one, array), device.empty((NBYTES,), "uint8")
    device.upload(held, encoded)
    return held


def problems(one: TensorMap, dtype: str) -> Iterator[str]:
    """What the driver would refuse, in words, the first things first."""
    if dtype not in _KINDS:
        yield f"'{one.array}' is {dtype}, and maps are of {' or '.join(_KINDS)}"
        return
    axes = len(one.dims)
    if not 1 <= axes <= 5 or len(one.strides) != axes - 1:
        yield f"{axes} axes and {len(one.strides)} strides: there are 1 to 5 axes, and a stride for each but the first"
    if not all(1 <= count <= 1 << 32 for count in one.dims):
        yield f"axes are of 1 to 2^32 elements, not {one.dims}"
    if any(stride % 16 or not 0 < stride < 1 << 40 for stride in one.strides):
        yield f"strides are multiples of 16 bytes below 2^40, not {one.strides}"
    if one.swizzle not in _SWIZZLES:
        yield f"swizzle is one of {', '.join(map(str, _SWIZZLES))} bytes, not {one.swizzle}"
    if (one.box is None) == (one.im2col is None):
        yield "it has either a box or im2col"
    elif one.box is not None:
        yield from _of_box(one.box, axes)
    elif one.im2col is not None:
        yield from _of_windows(one.im2col, axes)
    yield from _of_lines(one, itemsize(dtype))


def _of_box(box: Sequence[int], axes: int) -> Iterator[str]:
    if len(box) != axes:
        yield f"a box of {len(box)} axes for an array of {axes}"
    if not all(1 <= count <= 256 for count in box):
        yield f"a box has 1 to 256 elements along each axis, not {tuple(box)}"


def _of_windows(one: Im2col, axes: int) -> Iterator[str]:
    space = axes - 2
    limit = _CORNERS.get(space)
    if limit is None or not len(one.lower) == len(one.upper) == len(one.stride) == space:
        yield f"im2col of {axes} axes: there are 3 to 5, with corners and strides for all but the first and the last"
    elif not all(-limit <= corner < limit for corner in (*one.lower, *one.upper)):
        yield f"corners lie between {-limit} and {limit - 1}, not {one.lower} and {one.upper}"
    if not all(1 <= step <= 8 for step in one.stride):
        yield f"windows are 1 to 8 pixels apart, not {one.stride}"
    if not (1 <= one.channels <= 256 and 1 <= one.pixels <= 1024):
        yield f"a box has 1 to 256 channels and 1 to 1024 pixels, not {one.channels} and {one.pixels}"


def _of_lines(one: TensorMap, size: int) -> Iterator[str]:
    """A line is what lies densely in a box, of elements of so many bytes."""
    line = size * (one.box[0] if one.box else one.im2col.channels if one.im2col else 0)
    if line % 16:
        yield f"a box's innermost axis is a multiple of 16 bytes, not {line}"
    if one.swizzle and line > one.swizzle:
        yield f"a box's innermost axis of {line} bytes is longer than the swizzle of {one.swizzle}"


def encode(one: TensorMap, array: Array) -> Encoded:
    """The map's 128 bytes, by the driver. Raises ValueError with the driver's number where it refuses."""
    encoded = _aligned()
    head = (ctypes.c_void_p(encoded.ctypes.data), _KINDS[str(array.dtype)], len(one.dims))
    place = (*head, ctypes.c_void_p(address(array)), _numbers(ctypes.c_uint64, one.dims))
    tail = (_INTERLEAVE, _SWIZZLES[one.swizzle], _L2_PROMOTION, _FILL)
    strides, driver = _numbers(ctypes.c_uint64, one.strides), library()
    assert driver is not None, "there is a card, and no driver"
    if one.box is not None:
        box, steps = _numbers(ctypes.c_uint32, one.box), _numbers(ctypes.c_uint32, [1] * len(one.dims))
        status = driver.cuTensorMapEncodeTiled(*place, strides, box, steps, *tail)
    else:
        status = driver.cuTensorMapEncodeIm2col(*place, strides, *_windows(one.im2col), *tail)
    if status:
        raise ValueError(f"the CUDA driver answers {status}")
    return encoded


def _windows(one: Im2col | None) -> Iterator[Any]:
    assert one is not None
    yield from (_numbers(ctypes.c_int32, one.lower), _numbers(ctypes.c_int32, one.upper))
    yield from (one.channels, one.pixels, _numbers(ctypes.c_uint32, (1, *one.stride, 1)))


def _aligned() -> Encoded:
    whole = np.zeros(NBYTES + _ALIGNMENT, np.uint8)
    start = -whole.ctypes.data % _ALIGNMENT
    return whole[start : start + NBYTES]


def _numbers(kind: Any, values: Sequence[int]) -> Any:
    return (kind * len(values))(*values)
