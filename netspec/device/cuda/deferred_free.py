"""What nobody holds any more goes back to the driver: never during a capture, and on a card that hangs not at all.

numba-cuda gathers memory, events and code to give back, and does so whenever there is enough of it: in whatever thread
drops the last reference, whichever card's context is current there, if any. The driver waits for the card then.
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


def look_after(context: Any, current: AbstractContextManager[Any]) -> None:
    """Have what a context's queues hold given back with that context the current one, and at the right time only."""
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
def held_back() -> Iterator[None]:
    """Give nothing back within the block: it would spoil a capture."""
    _State.captures += 1
    try:
        yield
    finally:
        _State.captures -= 1


def give_up() -> None:
    """Give nothing back any more: the driver would wait for a card that hangs, at this process's end too."""
    if not _State.hangs:
        _State.hangs = True
        atexit.register(_leave)


def _leave() -> None:
    """End the process at once, before anybody asks the driver for anything."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(1)
