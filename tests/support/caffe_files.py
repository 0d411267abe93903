"""Files as Caffe writes them, byte by byte: protobuf.dev/programming-guides/encoding, numbers of caffe.proto."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: bytes | int | str) -> bytes:
    """A field: a number as a varint, all else by its length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def blob(array: Any, old: bool = False, double: bool = False) -> bytes:
    """BlobProto: shape = 7 { dim = 1 }, or num = 1, channels = 2, height = 3, width = 4; data = 5, double_data = 8."""
    data = field(8, array.astype("<f8").tobytes()) if double else field(5, array.astype("<f4").tobytes())
    if old:
        shape = [1] * (4 - array.ndim) + list(array.shape)
        return b"".join(field(i + 1, size) for i, size in enumerate(shape)) + data
    return data + field(7, field(1, b"".join(map(varint, array.shape))))


def caffemodel(layers: Mapping[str, Sequence[Any]], old: bool = False, double: bool = False) -> bytes:
    """NetParameter: layer = 100 { name = 1, blobs = 7 }; of old files layers = 2 { name = 4, blobs = 6 }."""
    layer, name, blobs = (2, 4, 6) if old else (100, 1, 7)
    made = field(1, "Net")
    for title, arrays in layers.items():
        inner = b"".join(field(blobs, blob(one, old, double)) for one in arrays)
        made += field(layer, field(name, title) + inner)
    return made


def binaryproto(mean: Any) -> bytes:
    """The mean image (channels, height, width) as compute_image_mean writes it."""
    return blob(np.asarray(mean)[None], old=True)
