"""The workers of a pipeline: a pool of processes, or one thread of this process."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
from multiprocessing import connection
from typing import Protocol

import numpy as np

from netspec.data.workers.fetch import Fetcher, Result, Task
from netspec.data.workers.process import TASK, Setup, packed, perform
from netspec.data.workers.shared_ring import Ring, anonymous_file, nameless_file
from netspec.data.workers.start import start, take
from netspec.errors import NetspecError
from netspec.machine.environment import cores
from netspec.machine.limits import cause

MOST_PER_CORE = 2
"""Worker processes a core: those that wait for a slow disk leave it to others; more only take time to start."""

_MOST_BY_DEFAULT = 16


class Workers(Protocol):
    """Does tasks in any order."""

    def submit(self, task: Task) -> None:
        """Hand over a task; returns at once."""

    def wait(self, seconds: float) -> list[Result]:
        """What has been done, after at most so many seconds; raises NetspecError when a worker has died."""

    def close(self) -> None:
        """Stop at once, dropping what is not done."""


def worker_count(wanted: int | None) -> int:
    """How many worker processes: as wanted, but at most two a core; 0 where none can be started.

    None: one core is left to the training.
    """
    if os.name != "posix":
        return 0
    return max(1, min(_MOST_BY_DEFAULT, cores() - 1)) if wanted is None else min(wanted, MOST_PER_CORE * cores())


def workers_note(wanted: int | None) -> str | None:
    """A line where fewer workers are started than are wanted."""
    count = worker_count(wanted)
    if wanted is None or count >= wanted:
        return None
    why = f"{MOST_PER_CORE} for each of {cores()} cores; more only take time to start"
    return f"{count} data workers instead of {wanted:,}: {why}"


def start_workers(setup: Setup, ring: Ring, count: int) -> Workers:
    """A pool of so many processes; a thread where there are none. Raises NetspecError where they cannot be started."""
    try:
        return ProcessPool(setup, ring, count) if count else ThreadWorker(setup, ring)
    except (OSError, RuntimeError) as error:
        remedy = "; --set data.workers=0 needs none" if count else ""
        raise NetspecError(f"no data worker can be started: {cause(error)}{remedy}") from error


class ThreadWorker:
    """One thread of this process."""

    def __init__(self, setup: Setup, ring: Ring) -> None:
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._ring = ring
        self._fetcher = Fetcher(setup.split, setup.transform)
        self._thread = threading.Thread(target=self._run, name="netspec-data", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            self._results.put(perform(self._fetcher, self._ring, task))

    def submit(self, task: Task) -> None:
        """Hand over a task."""
        self._tasks.put(task)

    def wait(self, seconds: float) -> list[Result]:
        """The next result."""
        try:
            return [self._results.get(timeout=seconds)]
        except queue.Empty:
            return []

    def close(self) -> None:
        """Cancel all tasks, and let the thread finish its image and end."""
        self._ring.cancelled[0] = np.iinfo(np.int64).max
        self._tasks.put(None)
        self._thread.join()


class ProcessPool:
    """Worker processes: fresh interpreters, which know nothing of this process's threads, locks and ``__main__``."""

    def __init__(self, setup: Setup, ring: Ring, workers: int) -> None:
        """Start them; raises OSError or NetspecError, and leaves nothing behind, where that cannot be."""
        self._workers: dict[connection.Connection, subprocess.Popen[bytes]] = {}
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as inherited:
            self._errors = undo.enter_context(open(nameless_file(), "w+b"))
            reading, self._tasks = os.pipe()
            inherited.callback(os.close, reading)
            undo.callback(os.close, self._tasks)
            os.set_blocking(reading, False)
            index = anonymous_file(packed(setup))
            inherited.callback(os.close, index)
            undo.callback(self._kill)
            for _ in range(workers):
                self._start([index, ring.handle, reading])
            self._closing = undo.pop_all()

    def _start(self, inherited: list[int]) -> None:
        started = take() or start(self._errors.fileno())
        mine, theirs = connection.Pipe(duplex=False)
        self._workers[mine] = started.process
        with theirs, contextlib.suppress(BrokenPipeError):  # it has died, as wait() will tell
            started.hand_over([self._errors.fileno(), *inherited, theirs.fileno()])

    def submit(self, task: Task) -> None:
        """Write the task to the pipe that all workers read from."""
        with contextlib.suppress(BrokenPipeError):  # all workers are dead, as wait() will tell
            os.write(self._tasks, TASK.pack(*task))

    def wait(self, seconds: float) -> list[Result]:
        """All that the workers have reported."""
        results: list[Result] = []
        for pipe in connection.wait(list(self._workers), seconds):
            assert isinstance(pipe, connection.Connection)
            try:
                results.append(pipe.recv())
            except (EOFError, OSError):
                raise NetspecError(self._death_of(pipe, self._workers[pipe])) from None
        return results

    def _death_of(self, pipe: connection.Connection, process: subprocess.Popen[bytes]) -> str:
        code = process.wait()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        self._errors.seek(0)
        last = self._errors.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
        number = list(self._workers).index(pipe) + 1
        hint = "was memory short?" if code == -signal.SIGKILL else "--set data.workers=0 reads without workers"
        said = f": {last}" if last else ""
        return f"data worker {number} of {len(self._workers)} (process {process.pid}) died, {how}{said} ({hint})"

    def close(self) -> None:
        """Kill the workers: they hold nothing that would be lost."""
        self._closing.close()

    def _kill(self) -> None:
        for process in self._workers.values():
            process.kill()
        for pipe, process in self._workers.items():
            process.wait()
            pipe.close()
