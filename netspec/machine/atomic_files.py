"""Files that are whole or absent: written aside, synced, renamed. Faults of the disk become one line."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from netspec.errors import NetspecError
from netspec.machine.cleanup import on_error, on_exit
from netspec.machine.limits import cause
from netspec.machine.names import ESCAPED

UNFINISHED = ".unfinished"
"""What the name of a file ends with until it is whole."""

_PIECE = 8 * 2**20
_REMEDY = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EROFS: "the file system is read-only; choose another folder with --out",
    errno.EACCES: "permission denied; choose another folder with --out",
    errno.EPERM: "permission denied; choose another folder with --out",
    errno.ELOOP: "it is a link, which a run does not write through; remove it",
    errno.EEXIST: "something else is there; remove it",
}


def disk_error(path: str | Path, error: OSError) -> NetspecError:
    """What to tell people when a write fails."""
    return NetspecError(f"cannot write {path}: {_REMEDY.get(error.errno or 0) or cause(error)}")


@contextlib.contextmanager
def told(path: str | Path) -> Iterator[None]:
    """Turn an OSError of the block into a NetspecError that names the path."""
    try:
        yield
    except OSError as error:
        raise disk_error(path, error) from error


def write_whole(path: Path, pieces: Iterable[bytes | memoryview]) -> int:
    """Write a file so that at any moment, and after a power cut, its name has the old content or all of the new.

    Returns the number of bytes. Raises NetspecError when the disk will not take them; the old content is then in place.
    """
    aside = path.with_name(path.name + UNFINISHED)
    with told(path), on_error(partial(aside.unlink, missing_ok=True)):
        count = _write_synced(aside, pieces)
        os.replace(aside, path)
        sync_folder(path.parent)
    return count


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where a library may write a file that takes its name when the block ends, and is removed where the block raises.

    Raises NetspecError when the disk will not take it; the old content is then in place.
    """
    aside = path.with_name(path.name + UNFINISHED)
    with told(path), on_error(partial(aside.unlink, missing_ok=True)):
        aside.unlink(missing_ok=True)
        yield aside
        with open(aside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
        sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a small text file as ``write_whole`` does."""
    write_whole(path, [text.encode("utf-8", ESCAPED)])


def _write_synced(path: Path, pieces: Iterable[bytes | memoryview]) -> int:
    """Write a new file; what bears its name is removed, not written through, be it a link or a pipe."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with on_exit(partial(os.close, handle)):
        count = sum(write_all(handle, piece) for piece in pieces)
        os.fsync(handle)
        return count


def write_all(handle: int, data: bytes | memoryview) -> int:
    """Write every byte, however few the system takes at a time; raises OSError."""
    view = memoryview(data).cast("B")
    done = 0
    while done < len(view):
        done += os.write(handle, view[done : done + _PIECE])
    return done


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last, where the system lets a folder be opened."""
    with contextlib.suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        with on_exit(partial(os.close, handle)):
            os.fsync(handle)


def remove_unfinished(folder: Path) -> None:
    """Delete what writers that were killed have left behind. Raises NetspecError where that is not allowed."""
    for path in folder.glob("*" + UNFINISHED):
        with told(path):
            path.unlink(missing_ok=True)
