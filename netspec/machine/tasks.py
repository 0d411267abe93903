"""Progress of tasks that take long: whoever does one tells how far it is, and whoever wants to hear is told.

The listener belongs to the context (``contextvars``) in place of an argument of every function between the two: a task
such as compilation is told from deep below. Threads that are started meanwhile hear nothing of it and tell nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from netspec.events import Listener, TaskProgress
from netspec.machine.cleanup import on_exit

_EVERY_S = 0.1
"""Seconds between two events of a task, at least: a part of one may take a microsecond."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)

T = TypeVar("T")


@contextmanager
def hearing(listener: Listener | None) -> Iterator[None]:
    """Have the listener hear of the block's tasks, as TaskProgress; None leaves them to whoever heard them before."""
    token = _listener.set(listener if listener is not None else _listener.get())
    try:
        yield
    finally:
        _listener.reset(token)


def pass_on(event: TaskProgress) -> None:
    """Tell the listener of a task that another process does."""
    if (listener := _listener.get()) is not None:
        listener(event)


@contextmanager
def task(
    what: str, total: int = 0, note: str = "", even: bool = True, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int], None]]:
    """A task of ``total`` parts (0: how many is unknown); gives a function that takes how many more are done."""
    listener, done, told_at = _listener.get(), 0, clock()
    if listener is None:
        yield lambda more: None
        return

    def tell(more: int) -> None:
        nonlocal done, told_at
        done += more
        if clock() - told_at >= _EVERY_S:
            told_at = clock()
            listener(TaskProgress(what, done, total, note, even))

    listener(TaskProgress(what, 0, total, note, even))
    with on_exit(lambda: listener(TaskProgress(what, done, total, note, even, over=True))):
        yield tell


def counted(what: str, items: Iterable[T], total: int | None = None) -> Iterator[T]:
    """The items, each a part of a task that is done when the next one is asked for; ``total`` of what has no length."""
    number = (len(items) if isinstance(items, Sized) else 0) if total is None else total
    with task(what, number) as tell:
        for item in items:
            yield item
            tell(1)
