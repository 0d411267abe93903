"""A team of threads with dynamic scheduling of a pass's blocks; results do not depend on who gets which."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from netspec.machine import start_threads
from netspec.machine.cleanup import on_error
from netspec.machine.topology import Cores, stay

Block = tuple[int, int]
_GRACE_S = 10.0
"""How long a helper may take to end; one that hangs in a kernel must not hang those who close the team."""


class Tail(NamedTuple):
    """A fused pass, run on each block right after it: ``scale`` elements for each of the block's positions."""

    function: Callable[..., Any]
    arguments: Sequence[tuple[Any, ...]]
    scale: int


class Job:
    """The blocks of one pass: ``function(start, stop, *arguments[member])`` once a block, then its tails."""

    def __init__(
        self,
        function: Callable[..., Any],
        blocks: Sequence[Block],
        arguments: Sequence[tuple[Any, ...]],
        then: Sequence[Tail] = (),
    ) -> None:
        self.function, self.blocks, self.arguments, self.then = function, blocks, arguments, then

    def work(self, member: int, ticket: Callable[[], int]) -> None:
        """Take blocks until none is left; ``ticket`` is an atomic counter."""
        while (number := ticket()) < len(self.blocks):
            self.block(number, member)

    def block(self, number: int, member: int) -> None:
        """One block and its fused passes, while the member's cache holds it."""
        start, stop = self.blocks[number]
        self.function(start, stop, *self.arguments[member])
        for tail in self.then:
            tail.function(start * tail.scale, stop * tail.scale, *tail.arguments[member])


class Team:
    """The calling thread and ``size - 1`` helpers, which sleep between passes and keep to ``cores``."""

    def __init__(self, size: int, name: str, cores: Cores = ()) -> None:
        self.size, self._cores = size, cores
        self._start = threading.Barrier(size)
        self._end = threading.Barrier(size)
        self._job: Job | None = None
        self._ticket: Callable[[], int] = itertools.count().__next__
        self._error: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._help, args=(member,), name=f"{name}-{member}", daemon=True)
            for member in range(1, size)
        ]
        with on_error(self._abort):
            start_threads.start(self._threads)

    def run(self, job: Job) -> None:
        """Run a pass to its end on all members; an exception in any is raised here."""
        self._ticket = itertools.count().__next__
        if self.size == 1 or len(job.blocks) == 1:
            job.work(0, self._ticket)
            return
        self._job, self._error = job, None
        try:
            self._start.wait()
            self._take(job, 0)
            self._end.wait()
        except BaseException:  # Ctrl-C while waiting: helpers are out of step, and a further run must not hang
            self._abort()
            raise
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the helpers, wherever a run that was interrupted has left them."""
        self._abort()
        for thread in self._threads:
            thread.join(_GRACE_S)
        self._threads = []

    def _abort(self) -> None:
        self._start.abort()
        self._end.abort()

    def _help(self, member: int) -> None:
        stay(self._cores)
        with contextlib.suppress(threading.BrokenBarrierError):
            while True:
                self._start.wait()
                assert self._job is not None
                self._take(self._job, member)
                self._end.wait()

    def _take(self, job: Job, member: int) -> None:
        try:
            job.work(member, self._ticket)
        except BaseException as error:
            self._error = error
