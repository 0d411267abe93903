"""Shared memory for batches: an anonymous file that the workers inherit.

It has no name, so nothing is left behind however the process ends, and it is not in /dev/shm, which is small in
containers.
"""

from __future__ import annotations

import mmap
import os
import tempfile

import numpy as np
from numpy.typing import NDArray

from netspec.errors import NetspecError

_PAGE = 4096


class Ring:
    """Slots of one batch each, uint8 (images, height, width, channels), and the ticket below which work is void."""

    def __init__(self, slots: int, shape: tuple[int, int, int, int], handle: int | None = None) -> None:
        """Make the memory, or map that of another process by its file descriptor."""
        self.slots, self.shape = slots, shape
        stride = -(-int(np.prod(shape)) // _PAGE) * _PAGE
        size = _PAGE + slots * stride
        self.handle = _anonymous(size, "the data ring") if handle is None else handle
        memory = np.frombuffer(mmap.mmap(self.handle, size), np.uint8)
        self.void: NDArray[np.int64] = memory[:8].view(np.int64)
        starts = (_PAGE + slot * stride for slot in range(slots))
        self.batches: list[NDArray[np.uint8]] = [memory[at : at + int(np.prod(shape))].reshape(shape) for at in starts]

    def close(self) -> None:
        """Let go of the memory, which lives on as long as an array refers to it."""
        os.close(self.handle)
        self.batches, self.void = [], np.zeros(1, np.int64)


def anonymous_file(content: bytes) -> int:
    """A file descriptor of a nameless file with that content, to be inherited."""
    handle = _anonymous(len(content), "the data index")
    os.pwrite(handle, content, 0)
    return handle


def _anonymous(size: int, what: str) -> int:
    handle = -1
    try:
        handle = _nameless()
        # Reserve the memory now: a lack of it would else kill the process at the first touch.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, size)
        else:
            os.ftruncate(handle, size)
    except OSError as error:
        if handle >= 0:
            os.close(handle)
        raise NetspecError(f"no memory for {what}: {size:,} bytes: {error.strerror}; try a smaller batch") from error
    return handle


def _nameless() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("netspec-data")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
