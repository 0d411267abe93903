"""PyTorch's modes of AlexNet, each in a process of its own that compiles while nobody is timing."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from gpu_parts.worker import Worker

PROGRAM = Path(__file__).resolve().parent / "rival.py"
Found = dict[str, Any]


class Mode(NamedTuple):
    """Words of rival.py, and images a batch."""

    words: str
    batch: int


class Rivals:
    """They compile one after the other, in the order given, so that none disturbs what another measures meanwhile.

    What has not compiled yet stands still while anybody is timing.
    """

    def __init__(self, modes: dict[str, Mode], log: Path, device: str = "cuda") -> None:
        command = [sys.executable, str(PROGRAM), device]
        self._workers = {name: Worker([*command, one.words, str(one.batch)], log) for name, one in modes.items()}
        self._warm: dict[str, Found] = {}
        self._changed = threading.Condition()
        self._nobody_times = threading.RLock()
        self._closed = False
        self._warming = threading.Thread(target=self._warm_up, daemon=True)
        self._warming.start()

    def measure(self, name: str, limit: float) -> Found:
        """What the mode reaches, once it has compiled and with the card to itself."""
        with self._changed:
            if not self._changed.wait_for(lambda: name in self._warm, limit):
                return {"failed": f"not compiled {limit:.0f} s after it was asked for"}
        if "failed" in self._warm[name]:
            return self._warm[name]
        with self.paused():
            found = self._workers[name].ask("time", {}, limit, limit)
            self._workers[name].close()
        return {**self._warm[name], **found}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing compiles meanwhile."""
        with self._nobody_times:
            compiling = [worker for name, worker in self._workers.items() if name not in self._warm]
            for worker in compiling:
                worker.pause()
            try:
                yield
            finally:
                for worker in compiling:
                    worker.resume()

    def close(self) -> None:
        """End all processes, whatever they are at."""
        with self._nobody_times:
            self._closed = True
            for worker in self._workers.values():
                worker.kill()
        self._warming.join(30)  # it reads from one of them, and must have done so when pipes are closed
        for worker in self._workers.values():
            worker.close()

    def _warm_up(self) -> None:
        for name, worker in self._workers.items():
            with self._nobody_times:
                if self._closed:
                    return
                worker.begin("compile", {}, 0.0)
            began = time.perf_counter()
            found = worker.finish(600.0)
            with self._changed:
                self._warm[name] = {**found, "seconds_to_compile": time.perf_counter() - began}
                self._changed.notify_all()
