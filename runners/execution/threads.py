"""Overlap on CPUs: a thread for each queue of each device; a step starts when the steps it waits for have ended."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import NamedTuple

from netspec.device.base import Call
from netspec.errors import NetspecError
from netspec.machine import start_threads
from netspec.machine.cleanup import on_error
from netspec.planning.identities import StepKey
from netspec.planning.plan import Step
from netspec.runners.execution.base import Runner
from netspec.runners.execution.bound import BoundProgram
from netspec.runners.execution.serial import step_failed
from netspec.runners.execution.trace import Trace

QueueName = tuple[str, str]
_GRACE_S = 10.0
"""How long the other queues may take to end when one has failed; one that hangs must not keep the error back."""


class _Aborted(Exception):
    """Another queue failed; this one gives up without a word of its own."""


class _Item(NamedTuple):
    """A step, its call, what it waits for, and what is set when it has ended, where others wait for that."""

    step: Step
    call: Call
    awaited: Sequence[tuple[StepKey, threading.Event]]
    ended: threading.Event | None


class ThreadRunner(Runner):
    """Runs iterations of one bound program, its queues side by side.

    A queue that waits longer than ``watchdog`` seconds for a step ends the run with a message that names both. After
    an error, or when ``run`` is interrupted, the runner is of no more use.
    """

    def __init__(self, bound: BoundProgram, trace: Trace | None = None, watchdog: float = 300.0) -> None:
        super().__init__(bound)
        self.trace, self.watchdog = trace, watchdog
        ended = {key: threading.Event() for one in bound.steps for key in one.step.after}
        self._ended = list(ended.values())
        self._running: dict[QueueName, StepKey] = {}
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._done: SimpleQueue[QueueName] = SimpleQueue()
        queues: dict[QueueName, list[_Item]] = defaultdict(list)
        for one in bound.steps:
            item = _Item(one.step, one.call, [(key, ended[key]) for key in one.step.after], ended.get(one.step.key))
            queues[one.step.device, one.step.queue].append(item)
        self._starts: dict[QueueName, SimpleQueue[bool]] = {name: SimpleQueue() for name in queues}
        self._threads = [
            threading.Thread(target=self._serve, args=(name, steps), name=f"netspec-{'-'.join(name)}", daemon=True)
            for name, steps in queues.items()
        ]
        with on_error(self.close):
            start_threads.start(self._threads)

    def run(self) -> None:
        """One iteration. Raises NetspecError naming the step that failed or that nobody finished."""
        if self._error is not None:
            raise NetspecError("this runner has failed before; make a new one") from self._error
        for event in self._ended:
            event.clear()
        for start in self._starts.values():
            start.put(True)
        try:
            self._finish()
        except BaseException:
            self._fail(NetspecError("the iteration was interrupted"))
            raise
        if self._error is not None:
            raise self._error

    def _finish(self) -> None:
        """Wait for all queues; when one has failed, for the others only a while."""
        for _ in self._starts:
            try:
                self._done.get(timeout=None if self._error is None else _GRACE_S)
            except Empty:
                return

    def close(self) -> None:
        """End the threads."""
        for start in self._starts.values():
            start.put(False)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(_GRACE_S)
        self._threads = []

    def _serve(self, name: QueueName, items: Sequence[_Item]) -> None:
        self.bound.devices[name[0]].adopt()
        while self._starts[name].get():
            try:
                for one in items:
                    self._wait(one)
                    if self.bound.is_due(one.step):
                        self._run(name, one)
                    if one.ended is not None:
                        one.ended.set()
            except _Aborted:
                pass
            except BaseException as error:  # raised by the thread that called run()
                self._fail(error)
            self._done.put(name)

    def _run(self, name: QueueName, one: _Item) -> None:
        self._running[name] = one.step.key
        start = self.trace.now() if self.trace else 0.0
        try:
            one.call()
        except NetspecError:
            raise
        except BaseException as error:
            raise step_failed(one.step, error) from error
        finally:
            self._running.pop(name, None)
        if self.trace:
            self.trace.step(one.step, start)

    def _wait(self, one: _Item) -> None:
        for key, event in one.awaited:
            if not event.wait(self.watchdog):
                raise self._overdue(one.step, key)
        if self._error is not None:
            raise _Aborted

    def _overdue(self, step: Step, awaited: StepKey) -> NetspecError:
        running = "; ".join(f"{device} {queue} is in '{one}'" for (device, queue), one in tuple(self._running.items()))
        return NetspecError(
            f"device '{step.device}' has waited {self.watchdog:g} s: '{step.name}' needs '{awaited}', "
            f"which has not ended ({running or 'no step is running'})"
        )

    def _fail(self, error: BaseException) -> None:
        """Keep the first error and wake every queue that waits."""
        with self._lock:
            self._error = self._error or error
        for event in self._ended:
            event.set()
