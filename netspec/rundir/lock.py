"""The lock of a run directory: one process trains there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import sys
from pathlib import Path

from netspec.errors import NetspecError
from netspec.machine.atomic_files import disk_error, told
from netspec.machine.cleanup import on_error
from netspec.rundir.run_files import Damaged, descriptor

LOCK = "lock"

_LINUX = sys.platform == "linux"
_FLOCK, _FLOCK_TYPE = ("@hhqqi0q", 0) if _LINUX else ("@qqihh", 3)
"""The system's struct flock: type, whence, start, length, pid on Linux; start, length, pid, type, whence on BSDs."""
_ASKED = (fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0) if _LINUX else (0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET)
_MOST_DIGITS = 20
_held: set[Path] = set()
"""The locks of this process."""


class Lock:
    """An exclusive lock that the system lets go when the process dies, however it dies.

    Record locks belong to the process, so data workers that outlive a killed trainer for a moment do not hold it; that
    is also why a second run in the same process is told apart by ``_held``. Raises NetspecError where another process,
    or a run in this one, holds it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder.resolve() / LOCK
        if self.path in _held:
            raise NetspecError(_busy(folder, str(os.getpid())))
        with told(folder / LOCK):
            self._handle = descriptor(folder / LOCK, os.O_RDWR | os.O_CREAT)
        with on_error(lambda: os.close(self._handle)):
            self._take(folder)
        _held.add(self.path)

    def _take(self, folder: Path) -> None:
        try:
            fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise disk_error(folder / LOCK, error) from error
            holder = os.pread(self._handle, _MOST_DIGITS, 0).decode("ascii", "replace").strip()
            raise NetspecError(_busy(folder, holder if holder.isdigit() else "")) from None
        with told(folder / LOCK):
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go."""
        _held.discard(self.path)
        os.close(self._handle)


def _busy(folder: Path, holder: str) -> str:
    return f"{folder}: process {holder or 'unknown'} is training here; wait for it, stop it, or start a run of its own"


def is_locked(folder: Path) -> bool:
    """Whether a process is training in the directory. Only asks: a run that starts meanwhile is not in its way."""
    if folder.resolve() / LOCK in _held:
        return True
    with contextlib.suppress(OSError, Damaged), open(descriptor(folder / LOCK), "rb") as file:  # nobody holds others
        answer = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(_FLOCK, *_ASKED)))
        return bool(answer[_FLOCK_TYPE] != fcntl.F_UNLCK)
    return False
