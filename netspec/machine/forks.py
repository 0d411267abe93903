"""Work on several items by copies of this process, one for each core, where only the time tells the difference."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import IO, Any, TypeVar

from netspec.machine.environment import cores

_LEAST = 8
"""Items for each process that make its start worth it."""
_MOST = 4
_BYTES, _QUEUED = 4, 1 << 10
"""Of an item's place in the queue, and places that any pipe has room for: a page of them."""
_THREADS = "/proc/self/task"

Item = TypeVar("Item")
Result = TypeVar("Result")


def shared_out(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """The results in order. What a copy does not give is worked on here, so that what it raises is raised here.

    All is done here where there are few items or one core, and where this process has threads, which copies lack.
    """
    ways = min(cores(), len(items) // _LEAST, _MOST)
    if ways < 2 or len(items) > _QUEUED or not os.path.isdir(_THREADS) or len(os.listdir(_THREADS)) > 1:
        return [work(item) for item in items]
    found = {0: work(items[0])}  # what it imports, copies need not
    copies: list[tuple[int, IO[bytes]]] = []
    queue = _queue(range(1, len(items)))
    try:
        with suppress(OSError):  # no more processes are allowed
            copies.extend(_copy(work, items, queue) for _ in range(1, ways))
        found |= _worked(work, items, queue)
        for _, results in copies:
            found |= _received(results)
    finally:
        os.close(queue)
        for pid, results in copies:
            results.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return [found[place] if place in found else work(item) for place, item in enumerate(items)]


def _queue(places: Iterable[int]) -> int:
    """A pipe that has been filled with numbers, of which each reader takes the next."""
    receiver, sender = os.pipe()
    with os.fdopen(sender, "wb") as filled:
        filled.write(b"".join(place.to_bytes(_BYTES, "little") for place in places))
    return receiver


def _worked(work: Callable[[Item], Result], items: Sequence[Item], queue: int) -> dict[int, Result]:
    """The results of the items whose places this process is the one to take, until none is left."""
    found = {}
    while taken := os.read(queue, _BYTES):
        place = int.from_bytes(taken, "little")
        found[place] = work(items[place])
    return found


def _copy(work: Callable[[Item], Result], items: Sequence[Item], queue: int) -> tuple[int, IO[bytes]]:
    """A copy of this process that does some of the work and ends: its number, and the pipe that its results come by."""
    _flush()
    receiver, sender = os.pipe()
    received, sent = os.fdopen(receiver, "rb"), os.fdopen(sender, "wb")
    pid = os.fork()
    if pid:
        sent.close()
        return pid, received
    try:
        results = _worked(work, items, queue)
        _flush()
        pickle.dump(results, sent)
        sent.flush()
    finally:
        os._exit(0)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _received(results: IO[bytes]) -> dict[int, Any]:
    """What a copy sends; nothing where it ends before, or sends what cannot be read."""
    try:
        return dict(pickle.load(results))
    except Exception:  # whatever a class raises that is read
        return {}
