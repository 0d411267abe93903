"""Work on several items by copies of this process, one for each core, where only the time tells the difference."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Any, TypeVar

from netspec.machine.environment import cores

_LEAST = 8
"""Items for each process that make its start worth it."""
_MOST = 4
_THREADS = "/proc/self/task"

Item = TypeVar("Item")
Result = TypeVar("Result")


def shared_out(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """The results in order. What a copy does not give is worked on here, so that what it raises is raised here.

    All is done here where there are few items or one core, and where this process has threads, which copies lack.
    """
    ways = min(cores(), len(items) // _LEAST, _MOST)
    if ways < 2 or not os.path.isdir(_THREADS) or len(os.listdir(_THREADS)) > 1:
        return [work(item) for item in items]
    found = {0: work(items[0])}  # what it imports, copies need not
    copies: dict[range, tuple[int, IO[bytes]]] = {}
    try:
        with suppress(OSError):  # no more processes are allowed
            for first in range(1, ways):
                places = range(first, len(items), ways)
                copies[places] = _copy(work, [items[place] for place in places])
        found |= {place: work(items[place]) for place in range(ways, len(items), ways)}
        for places, (_, results) in copies.items():
            found |= zip(places, _received(results), strict=False)
    finally:
        for pid, results in copies.values():
            results.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return [found[place] if place in found else work(item) for place, item in enumerate(items)]


def _copy(work: Callable[[Item], Result], items: Sequence[Item]) -> tuple[int, IO[bytes]]:
    """A copy of this process that does the work and ends: its number, and the pipe that its results come by."""
    _flush()
    receiver, sender = os.pipe()
    received, sent = os.fdopen(receiver, "rb"), os.fdopen(sender, "wb")
    pid = os.fork()
    if pid:
        sent.close()
        return pid, received
    try:
        results = [work(item) for item in items]
        _flush()
        pickle.dump(results, sent)
        sent.flush()
    finally:
        os._exit(0)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _received(results: IO[bytes]) -> list[Any]:
    """What a copy sends; nothing where it ends before, or sends what cannot be read."""
    try:
        return list(pickle.load(results))
    except Exception:  # whatever a class raises that is read
        return []
