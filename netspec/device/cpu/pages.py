"""Prefaulting: the pages of large allocations are populated by a background thread."""

from __future__ import annotations

import ctypes
import mmap
import sys
import threading
from typing import Any

import numpy as np

from netspec.machine.topology import Cores, stay

_POPULATE_WRITE = 23
"""MADV_POPULATE_WRITE of Linux 5.14: pages as if written to, whatever they hold; an older one refuses."""
_LARGE = 1 << 24


def populate(block: np.ndarray[Any, Any], cores: Cores = ()) -> threading.Thread | None:
    """Populate a block's pages (madvise); None where it is small or the system has no such call.

    The first iteration, which is the first to touch most of them, would wait for each page. They come from the memory
    beside ``cores``, where there are any: Linux takes it from the node of the core that touches a page first.
    """
    if block.nbytes < _LARGE or sys.platform != "linux":
        return None
    thread = threading.Thread(target=_populate, args=(block, cores), name="netspec-pages", daemon=True)
    thread.start()
    return thread


def _populate(block: np.ndarray[Any, Any], cores: Cores) -> None:
    stay(cores)
    start = -(-block.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
    whole = (block.ctypes.data + block.nbytes - start) // mmap.PAGESIZE * mmap.PAGESIZE
    advise = ctypes.CDLL(None).madvise  # called without the interpreter's lock
    advise(ctypes.c_void_p(start), ctypes.c_size_t(whole), _POPULATE_WRITE)
