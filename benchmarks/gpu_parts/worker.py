"""Sections in a process of their own, which can be ended: a kernel that hangs, or spoils its card's context, costs one.

A kernel that never ends cannot be stopped from within its process, and after an access out of bounds every later call
of that process fails. So sections that launch kernels are asked of a worker, which a fault or a late answer ends.
"""

from __future__ import annotations

import faulthandler
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

Found = dict[str, Any]
_START_S = 30.0
"""Imports and the card's context, on top of what a section may take."""


class Worker:
    """A process that is asked for one section after the other; it is made anew after each that failed."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._command, self._log = command, log
        self._process: subprocess.Popen[bytes] | None = None
        self._logged = 0

    def ask(self, section: str, done: Mapping[str, Found], left: float, limit: float) -> Found:
        """What the section found, or how it ended; ``left`` seconds are left to all, ``limit`` to this one."""
        limit += 0.0 if self._process else _START_S
        self.begin(section, done, left)
        return self.finish(limit)

    def begin(self, section: str, done: Mapping[str, Found], left: float) -> None:
        """Ask without waiting for the answer."""
        self._logged = self._log.stat().st_size if self._log.exists() else 0
        if self._process is None:
            self._process = self._started()
        with suppress(BrokenPipeError):
            _send(self._process.stdin, {"section": section, "done": done, "left": left})

    def finish(self, limit: float) -> Found:
        """The answer to what was begun."""
        process = self._process
        if process is None:
            return {"failed": "closed"}
        deadline = time.perf_counter() + limit
        found = _received(process, deadline)
        if found is None or "failed" in found:
            found = found or {"failed": _how_it_ended(process, deadline, limit)}
            self.close()
            found["log"] = _tail(self._log, self._logged)
        return found

    def pause(self) -> None:
        """Stop the process where it is; what it has given the card ends by itself."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the process, whatever it is at; another thread may be waiting for its answer."""
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """End the process and close its pipes."""
        self.kill()
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(subprocess.TimeoutExpired):  # the driver may take its time to end a kernel
            process.wait(timeout=20)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()

    def _started(self) -> subprocess.Popen[bytes]:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, **pipes, stderr=log, start_new_session=True)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


def _how_it_ended(process: subprocess.Popen[bytes], deadline: float, limit: float) -> str:
    """In words; a process that did not answer says in the log where its threads are."""
    if time.perf_counter() >= deadline:
        process.send_signal(signal.SIGUSR1)
        time.sleep(1)
        return f"no answer in {limit:.0f} s: ended (the end of its log says where it was)"
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)
    return f"its process ended by itself, with status {process.returncode}"


def serve(answer: Callable[[str, Mapping[str, Found], float], Found]) -> None:
    """The worker's side: answer what is asked until nobody asks any more. What it prints goes to the log."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        print(f"--- {asked['section']}", flush=True)
        _send(answers, answer(asked["section"], asked["done"], asked["left"]))


def _send(pipe: BinaryIO | Any, what: Mapping[str, Any]) -> None:
    pipe.write(json.dumps(what, default=str).encode() + b"\n")
    pipe.flush()


def _received(process: subprocess.Popen[bytes], deadline: float) -> Found | None:
    """A line of JSON; None where the process ends or the time is up."""
    assert process.stdout is not None
    text = b""
    while not text.endswith(b"\n"):
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.perf_counter()))
        piece = os.read(process.stdout.fileno(), 1 << 20) if readable else b""
        if not piece:
            return None
        text += piece
    found: Found = json.loads(text)
    return found


def _tail(log: Path, start: int, most: int = 4000) -> str:
    """The end of what was written since."""
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - most))
        return file.read().decode(errors="replace").strip()
