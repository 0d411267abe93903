"""Reading files that a person names: regular ones only, of bounded size, so that nothing blocks or fills memory."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from netspec.errors import NetspecError

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_regular(path: str | Path, limit: int) -> bytes:
    """The content of a regular file of at most ``limit`` bytes; links are followed.

    Raises NetspecError, in one line that begins with the path, for everything else.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            kind = stat.S_IFMT(os.fstat(handle).st_mode)
            data = _read(handle, limit + 1) if kind == stat.S_IFREG else b""
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else str(error)
        raise NetspecError(f"{path}: cannot be read: {reason}") from error
    if kind != stat.S_IFREG:
        raise NetspecError(f"{path}: is {_KINDS.get(kind, 'something else')}, not a file")
    if len(data) > limit:
        raise NetspecError(f"{path}: larger than {limit / 2**20:g} MiB")
    return data


def _read(handle: int, most: int) -> bytes:
    """Up to ``most`` bytes, however few a call gives."""
    pieces, left = [], most
    while left and (piece := os.read(handle, min(left, 2**20))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
