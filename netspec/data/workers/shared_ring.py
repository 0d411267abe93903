"""A ring buffer of batches in shared memory: an anonymous file that the workers inherit.

It has no name, so nothing is left behind however the process ends, and it is not in /dev/shm, which is small in
containers.
"""

from __future__ import annotations

import errno
import math
import mmap
import os
import tempfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from netspec import units
from netspec.errors import NetspecError
from netspec.machine.environment import host_memory
from netspec.machine.limits import cause, is_limit

_PAGE = 4096

Rows = Mapping[str, NDArray[Any]]
"""A batch, or some of its images: each field's values, an image in each row."""


class Field(NamedTuple):
    """One array of a batch: its shape, images first, and its dtype."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class Ring:
    """Slots of one batch each, with an array for each field; work on tickets below ``cancelled`` is so."""

    def __init__(self, slots: int, fields: Mapping[str, Field], handle: int | None = None) -> None:
        """Make the memory, or map that of another process by its file descriptor. Raises NetspecError."""
        strides = {name: -(-field.nbytes // _PAGE) * _PAGE for name, field in fields.items()}
        size = _PAGE + slots * sum(strides.values())
        self.handle = _anonymous(size, "the batches") if handle is None else handle
        memory = np.frombuffer(self._map(size, handle is None), np.uint8)
        self.cancelled: NDArray[np.int64] = memory[:8].view(np.int64)
        self.batches: list[dict[str, NDArray[Any]]] = []
        at = _PAGE
        for _ in range(slots):
            self.batches.append({})
            for name, field in fields.items():
                self.batches[-1][name] = memory[at : at + field.nbytes].view(field.dtype).reshape(field.shape)
                at += strides[name]

    def _map(self, size: int, own: bool) -> mmap.mmap:
        try:
            return mmap.mmap(self.handle, size)
        except OSError as error:
            if own:
                os.close(self.handle)
            raise _no_memory("the batches", size, error) from error

    def close(self) -> None:
        """Let go of the memory, which lives on as long as an array refers to it."""
        os.close(self.handle)
        self.batches, self.cancelled = [], np.zeros(1, np.int64)


def anonymous_file(content: bytes) -> int:
    """A file descriptor of a nameless file with that content, to be inherited. Raises NetspecError."""
    handle = _anonymous(len(content), "the list of images")
    os.pwrite(handle, content, 0)
    return handle


def _anonymous(size: int, what: str) -> int:
    handle = -1
    try:
        if size > (host_memory() or size):
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        handle = nameless_file()
        # Reserve the memory now: a lack of it would else kill the process at the first touch.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, size)
        else:
            os.ftruncate(handle, size)
    except OSError as error:
        if handle >= 0:
            os.close(handle)
        raise _no_memory(what, size, error) from error
    return handle


def _no_memory(what: str, size: int, error: OSError) -> NetspecError:
    remedy = "" if is_limit(error) and error.errno != errno.ENOMEM else "; a smaller batch needs less"
    return NetspecError(f"no shared memory for {what} ({units.size(size)}): {cause(error)}{remedy}")


def nameless_file() -> int:
    """A descriptor of an empty file without a name; raises OSError."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("netspec-data")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
