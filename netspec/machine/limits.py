"""What the system refuses, by the limit that is reached: files, processes, memory, sizes."""

from __future__ import annotations

import errno

_LIMITS = {
    errno.EMFILE: "too many open files for this process (its limit: ulimit -n)",
    errno.ENFILE: "too many open files on this machine",
    errno.EAGAIN: "no more processes or threads may be started (limits: ulimit -u and -v, a container's pids.max)",
    errno.ENOMEM: "no more memory may be had (limits: ulimit -v, a container's memory)",
    errno.EFBIG: "no file may be so large (the file system's limit, or ulimit -f)",
    errno.ENOSPC: "no space is left",
}
_OF_THE_PROCESS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def cause(error: BaseException) -> str:
    """Why the system refused, in a clause: the limit that was reached, else what the error says."""
    if isinstance(error, MemoryError):
        return _LIMITS[errno.ENOMEM]
    if isinstance(error, RuntimeError):  # of threading: can't start new thread
        return _LIMITS[errno.EAGAIN]
    if isinstance(error, OSError):
        return _LIMITS.get(error.errno or 0) or error.strerror or str(error)
    return str(error) or type(error).__name__


def is_limit(error: OSError) -> bool:
    """Whether it is this process or this machine that is at a limit, and not the file that is at fault."""
    return error.errno in _OF_THE_PROCESS
