"""How many threads BLAS works with, which is one setting for the whole process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_blocks = 0
_limits: Any = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS at one thread a caller, as devices share out the cores among threads of their own.

    Blocks may overlap in any order: the last one to end gives back what was set before the first.
    """
    _change(1)
    try:
        yield
    finally:
        _change(-1)


def _change(by: int) -> None:
    global _blocks, _limits
    with _lock:
        _blocks += by
        if by > 0 and _blocks == 1:
            from threadpoolctl import threadpool_limits

            _limits = threadpool_limits(1, user_api="blas")
        elif not _blocks:
            _limits.restore_original_limits()
