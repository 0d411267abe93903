"""The one way to open a file of a run directory, which may hold anything by the time it is read.

A file is opened without following a link in its place and without blocking, and only a regular file is taken. Sizes
and depths are bounded before memory is. Whatever is wrong is a ``Damaged`` that names the file.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from netspec.errors import NetspecError
from netspec.machine.cleanup import on_error
from netspec.machine.regular_files import NotRegularError, open_regular
from netspec.units import size

MAX_BYTES = 64 * 2**20
"""A JSON or YAML file of a run is no larger: that is the record of a run over a million named classes."""
MAX_DEPTH = 64
"""Nor nested deeper; specs are bounded to 40 levels."""

_UNOPENED = {
    errno.ELOOP: "a link, which is not followed; a run has files of its own",
    errno.EMLINK: "a link, which is not followed; a run has files of its own",  # the BSDs' word for it
    errno.ENXIO: "a socket or a FIFO, not a file",
    errno.EISDIR: "a directory, not a file",
}


class Damaged(NetspecError):
    """A file of a run that is not what a run writes: ``path`` and ``reason``."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}")


def descriptor(path: Path, flags: int = os.O_RDONLY) -> int:
    """The file descriptor of a regular file that is no link; with O_CREAT in ``flags`` it is made where there is none.

    What is written to must have no second name either: the other one may lie anywhere. Raises Damaged for anything
    else, and OSError where the system refuses, FileNotFoundError among it.
    """
    try:
        handle = open_regular(path, flags | os.O_NOFOLLOW)
    except NotRegularError as error:
        raise Damaged(path, str(error)) from error
    except OSError as error:
        if error.errno in _UNOPENED:
            raise Damaged(path, f"is {_UNOPENED[error.errno]}") from error
        raise
    with on_error(lambda: os.close(handle)):
        if flags & (os.O_WRONLY | os.O_RDWR) and os.fstat(handle).st_nlink > 1:
            raise Damaged(path, "is a hard link: its other name would be changed too; put a copy in its place")
    return handle


def opened(path: Path) -> BinaryIO:
    """The file, open for reading. Raises Damaged where it is no file to read, FileNotFoundError where there is none."""
    try:
        return os.fdopen(descriptor(path), "rb")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> Damaged:
    """What to tell where the system does not let a file be read."""
    return Damaged(path, f"cannot be read: {(error.strerror or str(error)).lower()}")


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The content of a file of at most ``limit`` bytes; raises as ``opened`` does."""
    with opened(path) as file:
        try:
            data = file.read(limit + 1)
        except OSError as error:
            raise unreadable(path, error) from error
    if len(data) > limit:
        raise Damaged(path, f"is larger than {size(limit)}")
    return data


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """The text of a UTF-8 file; raises as ``opened`` does."""
    try:
        return read_bytes(path, limit).decode()
    except UnicodeDecodeError as error:
        raise Damaged(path, f"is not UTF-8 at byte {error.start:,}") from error


def read_json(path: Path, limit: int = MAX_BYTES) -> dict[str, Any]:
    """The object that a JSON file holds; raises as ``opened`` does."""
    return as_object(path, read_bytes(path, limit))


def as_object(path: Path, text: str | bytes) -> dict[str, Any]:
    """The object that the JSON text of a file holds, nested no deeper than MAX_DEPTH. Raises Damaged."""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise Damaged(path, f"is nested deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:
        raise Damaged(path, f"is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Damaged(path, "is JSON, but no object")
    if _is_deep(value):
        raise Damaged(path, f"is nested deeper than {MAX_DEPTH} levels")
    return value


def _is_deep(value: Any, depth: int = 0) -> bool:
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list):
        return False
    return depth >= MAX_DEPTH or any(_is_deep(item, depth + 1) for item in value)
