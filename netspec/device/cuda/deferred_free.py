"""Deferred deallocation: memory is freed neither during graph capture nor on a card that hangs.

numba-cuda queues memory, events and modules to free, and empties the queue when it is long enough: in whatever thread
drops the last reference, whichever card's context is current there, if any. The driver synchronises with the card then.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from netspec.errors import NetspecError
from netspec.kernels import numba_cuda


class _State:
    captures = 0
    hangs = False


def guard_deallocations(context: Any, current: AbstractContextManager[Any]) -> None:
    """Have a context's deallocation queues emptied with that context current, and only when it is safe."""
    for owner in (context, getattr(context, "memory_manager", None)):
        queue = getattr(owner, "deallocations", None)
        if queue is not None and not hasattr(queue, "netspec"):
            queue.clear, queue.netspec = _guarded(queue.clear, current), True


def _guarded(clear: Callable[[], None], current: AbstractContextManager[Any]) -> Callable[[], None]:
    def guarded() -> None:
        if not (_State.captures or _State.hangs):
            with suppress(NetspecError, numba_cuda.driver_error()), current:  # a card that failed has said so by now
                clear()

    return guarded


@contextmanager
def no_deallocations() -> Iterator[None]:
    """No deallocations within the block: they would invalidate a capture."""
    _State.captures += 1
    try:
        yield
    finally:
        _State.captures -= 1


def stop_deallocations() -> None:
    """No deallocations any more: the driver would wait for a card that hangs, at this process's exit too."""
    if not _State.hangs:
        _State.hangs = True
        atexit.register(_leave)


def _leave() -> None:
    """Exit at once, before any destructor calls the driver."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(1)
