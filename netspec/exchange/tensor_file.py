"""safetensors files: eight bytes of length, a JSON header, the arrays one after the other, little-endian.

Written piece by piece from the arrays, without a second copy and without holding the interpreter. Read by plain reads,
not by mapping: a disk that fails, or a file that shrinks meanwhile, is then an error, where a mapping would kill the
process. No memory is asked for before the header has been checked against the file's size.

Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from netspec import units
from netspec.machine.environment import host_memory
from netspec.rundir.run_files import MAX_BYTES, Damaged, as_object, unreadable

Array = np.ndarray[Any, Any]

_DTYPES = {f"{kind}{bits}": f"{kind[0].upper()}{bits}" for kind in ("float", "int", "uint") for bits in (8, 16, 32, 64)}
_NUMPY = {code: name for name, code in _DTYPES.items() if name != "float8"} | {"BOOL": "bool", "BF16": "bfloat16"}
_STORED = {"bfloat16": "uint16"}
"""What numpy has not: read as the type of that size, and made float32."""
_ALIGNMENT = 8
_MOST_AXES = 16
_LARGEST = 2**48
"""Elements along an axis; more than any file has."""


class Entry(NamedTuple):
    """Where an array lies in a file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int


class Header(NamedTuple):
    """What a file says of itself: texts by name, and its arrays in the order in which they lie there."""

    metadata: Mapping[str, str]
    entries: Mapping[str, Entry]


def pieces(metadata: Mapping[str, str], arrays: Mapping[str, Array]) -> Iterator[bytes | memoryview]:
    """The content of a file of C-contiguous arrays."""
    header: dict[str, Any] = {"__metadata__": metadata}
    start = 0
    for name, array in arrays.items():
        kind = {"dtype": _DTYPES[array.dtype.name], "shape": array.shape}
        header[name] = {**kind, "data_offsets": [start, start + array.nbytes]}
        start += array.nbytes
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % _ALIGNMENT)
    yield len(encoded).to_bytes(8, "little") + encoded
    yield from map(raw, arrays.values())


def raw(array: Array) -> memoryview:
    """The bytes of a C-contiguous array."""
    return array.reshape(-1).view(np.uint8).data


def read_header(path: Path, file: BinaryIO) -> Header:
    """The header of an open file, checked against its size. Raises Damaged."""
    size = file.seek(0, 2)
    file.seek(0)
    length = int.from_bytes(_exactly(path, file, 8), "little")
    if length > min(size - 8, MAX_BYTES):
        raise _damaged(path, "it is cut off, or its header is too long")
    values = as_object(path, _text(path, _exactly(path, file, length)))
    metadata = values.pop("__metadata__", {})
    if not (isinstance(metadata, dict) and all(isinstance(text, str) for text in metadata.values())):
        raise _damaged(path, "its metadata are no texts")
    entries = {name: _entry(path, name, value, 8 + length) for name, value in values.items()}
    entries = dict(sorted(entries.items(), key=lambda item: (item[1].start, item[1].nbytes)))
    _check_places(path, entries, 8 + length, size)
    return Header(metadata, entries)


def read_arrays(path: Path, file: BinaryIO, header: Header) -> dict[str, Array]:
    """All arrays of an open file. Raises Damaged."""
    total, memory = sum(entry.nbytes for entry in header.entries.values()), host_memory()
    if memory is not None and total > memory:
        raise Damaged(path, f"holds {units.size(total)} of tensors; this machine has {units.size(memory)} of memory")
    return {name: _array(path, file, entry) for name, entry in header.entries.items()}


def _array(path: Path, file: BinaryIO, entry: Entry) -> Array:
    array = np.empty(entry.shape, np.dtype(_STORED.get(entry.dtype, entry.dtype)).newbyteorder("<"))
    view, done = raw(array), 0
    file.seek(entry.start)
    while done < len(view):
        try:
            count = file.readinto(view[done:])  # type: ignore[attr-defined]
        except OSError as error:
            raise unreadable(path, error) from error
        if not count:
            raise _damaged(path, "it ends before its last array")
        done += count
    if entry.dtype in _STORED:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(entry.dtype, copy=False)


def _entry(path: Path, name: str, value: Any, base: int) -> Entry:
    """An array's place as the header has it; its numbers are bounded here, before anything is computed from them."""
    match value:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [start, stop]}:
            counts = all(type(n) is int and 0 <= n < _LARGEST for n in (*shape, start, stop))
            if counts and dtype in _NUMPY and len(shape) <= _MOST_AXES:
                nbytes = math.prod(shape) * np.dtype(_STORED.get(_NUMPY[dtype], _NUMPY[dtype])).itemsize
                if nbytes == stop - start and math.prod(n or 1 for n in shape) < _LARGEST:
                    return Entry(_NUMPY[dtype], tuple(shape), base + start, nbytes)
    raise _damaged(path, f"its header has no type, shape and place for '{name}' that fit each other")


def _check_places(path: Path, entries: Mapping[str, Entry], place: int, size: int) -> None:
    """Arrays lie without gaps from the header to the end of the file."""
    for name, entry in entries.items():
        if entry.start != place:
            raise _damaged(path, f"'{name}' does not begin where the array before it ends")
        place += entry.nbytes
    if place != size:
        raise _damaged(path, f"its arrays end at byte {place:,} of {size:,}")


def _exactly(path: Path, file: BinaryIO, count: int) -> bytes:
    try:
        data = file.read(count)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(data) < count:
        raise _damaged(path, "it is cut off")
    return data


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _damaged(path, "its header is no text") from error


def _damaged(path: Path, reason: str) -> Damaged:
    return Damaged(path, f"damaged or not a checkpoint: {reason}")
