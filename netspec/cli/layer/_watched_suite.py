"""The contract suite in a process of its own: a kernel that never ends, or brings it down, is told as a failure."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from netspec.errors import NetspecError
from netspec.machine.cleanup import on_exit
from netspec.machine.marks import MarksFile
from netspec.machine.tasks import pass_on
from netspec.registry.plugin_code import plugin_files, portable

_START = "import sys; from netspec.check.suite_process import main; main(int(sys.argv[1]), sys.argv[2])"
_POLL_S = 0.2
_START_S = 60.0
"""What its start may take, whatever the limit: it runs no kernel, and takes seconds on a busy machine."""
_STACK_S = 10.0
"""What writing its stack may take."""
_FRAME = re.compile(r'^\s*File "([^"]*)", line (\d+)', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one check of a type, as netspec.check.Result has it."""

    type: str
    name: str
    status: str
    message: str
    about: str = ""


@dataclass
class _Suite:
    """A process and how far it is."""

    limit: float
    process: subprocess.Popen[bytes]
    connection: Any
    marks: MarksFile
    stack: Path
    left: list[str]
    """Types that it has not finished."""
    checks: list[str] = field(default_factory=list)
    """Checks of the first of them that have not ended."""


def watched(types: Sequence[str], backends: Sequence[str] | None, limit: float) -> Iterator[Outcome]:
    """The results of all types, each as it comes; ``limit``: seconds that one run of a kernel may take.

    A type in which the process hangs or dies has a failed check, and those after it are skipped.
    """
    left = list(types)
    while left:
        with tempfile.TemporaryDirectory(prefix="netspec-check-") as folder:
            suite = _start(left, backends, limit, Path(folder))
            with on_exit(suite.process.wait), on_exit(suite.process.kill):
                fault = yield from _results(suite)
                if fault:
                    yield from _lost(suite, fault)
            left = suite.left[1:]


def _start(types: Sequence[str], backends: Sequence[str] | None, limit: float, folder: Path) -> _Suite:
    marks, stack = MarksFile(folder / "mark"), folder / "stack"
    stack.touch()
    ours, theirs = Pipe()
    path = os.pathsep.join(entry for entry in sys.path if entry)
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, str(theirs.fileno()), str(folder)],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            process_group=0,  # Ctrl-C is for this process, which then ends that one
        )
    except OSError as error:
        raise NetspecError(f"the contract suite's process cannot be started: {error}") from error
    theirs.close()
    ours.send((portable(), list(types), backends))
    return _Suite(limit, process, ours, marks, stack, list(types))


def _results(suite: _Suite) -> Generator[Outcome, None, str]:
    """What the process answers; returns what became of it where it did not come to its end."""
    while True:
        kind, value = _answer(suite)
        if kind == "event":
            pass_on(value)
        elif kind == "type":
            if value[0] != suite.left[0]:
                suite.left.pop(0)
            suite.checks = value[1]
        elif kind == "result":
            suite.checks.remove(value["name"])
            yield Outcome(suite.left[0], value["name"], value["status"], value["message"], value["about"])
        elif kind == "error":
            raise NetspecError(value)
        elif kind == "end":
            suite.left.clear()
            return ""
        else:
            return str(value)


def _answer(suite: _Suite) -> tuple[str, Any]:
    """The next one; ``("fault", words)`` where the process is gone, or has done one thing for too long."""
    limit = suite.limit if suite.checks else max(suite.limit, _START_S)
    last, since = suite.marks.read()[0], time.monotonic()
    while not suite.connection.poll(_POLL_S):
        count, now = suite.marks.read()[0], time.monotonic()
        if count != last:
            last, since = count, now
        elif now - since > limit:
            return "fault", f"{_hanging(suite)}: it has not ended within {limit:g} s (--time-limit)"
    try:
        answer: tuple[str, Any] = suite.connection.recv()
        return answer
    except (EOFError, OSError):
        return "fault", f"{_doing(suite)}: {_end(suite.process.wait())}"


def _doing(suite: _Suite) -> str:
    return suite.marks.read()[1] or "a method of the layer"


def _hanging(suite: _Suite) -> str:
    """What the process does, after the innermost line of a plugin that its Python is in."""
    suite.process.send_signal(signal.SIGUSR1)  # upon which it writes its stack, and ends
    with suppress(subprocess.TimeoutExpired):
        suite.process.wait(_STACK_S)
    frames = [(file, line) for file, line in _FRAME.findall(suite.stack.read_text()) if file in plugin_files()]
    return f"{frames[0][0]}:{frames[0][1]}: {_doing(suite)}" if frames else _doing(suite)


def _end(code: int) -> str:
    how = f"of {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    why = "was memory short?" if code == -signal.SIGKILL else "a kernel that goes far outside its arrays does that"
    return f"the process has ended {how} in it; {why}"


def _lost(suite: _Suite, fault: str) -> Iterator[Outcome]:
    """The check that did not end, and those that it has kept from being done."""
    failed, *others = suite.checks or ["start"]
    yield Outcome(suite.left[0], failed, "failed", fault)
    yield from (Outcome(suite.left[0], name, "skipped", f"needs what {failed} checks") for name in others)
