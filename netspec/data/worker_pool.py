"""Those who do a pipeline's tasks: worker processes, or one thread of this process."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from multiprocessing import connection
from typing import Protocol

import numpy as np

from netspec.data.shared_ring import Ring, anonymous_file
from netspec.data.tasks import Done, Reader, Task
from netspec.data.worker import TASK, Setup, perform
from netspec.errors import NetspecError

_START = "from netspec.data.worker import main; main()"


class Crew(Protocol):
    """Does tasks in any order."""

    def submit(self, task: Task) -> None:
        """Hand over a task; returns at once."""

    def wait(self, seconds: float) -> list[Done]:
        """What has been done, after at most so many seconds; raises NetspecError when a worker has died."""

    def close(self) -> None:
        """Stop at once, dropping what is not done."""


class ThreadCrew:
    """One thread of this process."""

    def __init__(self, setup: Setup, ring: Ring) -> None:
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Done] = queue.SimpleQueue()
        self._ring = ring
        self._reader = Reader(setup.split, setup.recipe)
        self._thread = threading.Thread(target=self._run, name="netspec-data", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            self._done.put(perform(self._reader, self._ring, task))

    def submit(self, task: Task) -> None:
        """Hand over a task."""
        self._tasks.put(task)

    def wait(self, seconds: float) -> list[Done]:
        """The next thing done."""
        try:
            return [self._done.get(timeout=seconds)]
        except queue.Empty:
            return []

    def close(self) -> None:
        """Let the thread finish its image and end: all its tasks become void."""
        self._ring.void[0] = np.iinfo(np.int64).max
        self._tasks.put(None)
        self._thread.join()


class ProcessCrew:
    """Worker processes: fresh interpreters, which know nothing of this process's threads, locks and ``__main__``."""

    def __init__(self, setup: Setup, ring: Ring, workers: int) -> None:
        self._errors = tempfile.TemporaryFile()
        reading, self._tasks = os.pipe()
        os.set_blocking(reading, False)
        index = anonymous_file(pickle.dumps(setup, pickle.HIGHEST_PROTOCOL))
        self._workers: dict[connection.Connection, subprocess.Popen[bytes]] = {}
        try:
            for _ in range(workers):
                self._start([index, ring.handle, reading])
        except OSError as error:
            self.close()
            raise NetspecError(f"no data worker can be started: {error}; --set data.workers=0 does without") from error
        finally:
            os.close(reading)
            os.close(index)

    def _start(self, inherited: list[int]) -> None:
        mine, theirs = connection.Pipe(duplex=False)
        with theirs:
            handles = [*inherited, theirs.fileno()]
            self._workers[mine] = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, str(os.getpid()), *map(str, handles)],
                pass_fds=handles,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                process_group=0,  # Ctrl-C is for the parent, which ends its iteration and then its workers
            )

    def submit(self, task: Task) -> None:
        """Write the task to the pipe that all workers read from."""
        with contextlib.suppress(BrokenPipeError):  # all workers are dead, as wait() will tell
            os.write(self._tasks, TASK.pack(*task))

    def wait(self, seconds: float) -> list[Done]:
        """All that the workers have reported."""
        done: list[Done] = []
        for pipe in connection.wait(list(self._workers), seconds):
            assert isinstance(pipe, connection.Connection)
            try:
                done.append(pipe.recv())
            except (EOFError, OSError):
                raise NetspecError(self._obituary(pipe, self._workers[pipe])) from None
        return done

    def _obituary(self, pipe: connection.Connection, process: subprocess.Popen[bytes]) -> str:
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
        os.close(self._tasks)
        for pipe, process in self._workers.items():
            process.kill()
            process.wait()
            pipe.close()
        self._errors.close()


def _environment() -> dict[str, str]:
    """This process's modules, one thread for libraries that would start more, and pixels that stay allocated.

    Without the last, each image's memory goes back to the system and is faulted in again: 100 page faults an image.
    """
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {"PILLOW_BLOCKS_MAX": "4", **os.environ, **threads, "PYTHONPATH": path}
