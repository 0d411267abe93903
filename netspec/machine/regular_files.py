"""Opening files that may be anything: regular ones only, without waiting for a pipe, and of bounded size."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from netspec.errors import NetspecError
from netspec.machine.cleanup import on_error
from netspec.units import size

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotRegularError(Exception):
    """What is there is no regular file; the text says what it is."""


def open_regular(path: str | bytes | Path, flags: int = os.O_RDONLY) -> int:
    """The descriptor of a regular file. Raises NotRegularError, and OSError where the system refuses."""
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o644)
    with on_error(lambda: os.close(handle)):
        kind = stat.S_IFMT(os.fstat(handle).st_mode)
        if kind != stat.S_IFREG:
            raise NotRegularError(f"is {_KINDS.get(kind, 'something else')}, not a file")
    return handle


def read_regular(path: str | Path, limit: int) -> bytes:
    """The content of a regular file of at most ``limit`` bytes; links are followed.

    Raises NetspecError, in one line that begins with the path, for everything else.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            data = file.read(limit + 1)
    except NotRegularError as error:
        raise NetspecError(f"{path}: {error}") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else str(error)
        raise NetspecError(f"{path}: cannot be read: {reason}") from error
    if len(data) > limit:
        raise NetspecError(f"{path}: larger than {size(limit)}")
    return data
