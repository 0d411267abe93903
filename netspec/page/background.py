"""Sections that need the network, made in a process of its own: the server stays quick, and training comes first.

Run as ``python -m netspec.page.background`` it reads a request, one JSON object, from stdin, and writes a JSON object
a line to stdout for each section that is made.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

from netspec.errors import NetspecError
from netspec.machine.start_threads import start
from netspec.page.document import Section, note
from netspec.page.run_page import TIMED, Part, parts

_PAUSE = 4
"""So many times as long as they were made, sections rest while a run trains."""
_LATER = "measured once the run has ended: until then the training has the processors"


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be made: the sections that are not live, of these runs; ``training`` says that one of them goes on.

    ``trust`` is ``--trust``.
    """

    runs: Sequence[str]
    labels: Sequence[str]
    training: bool
    images: Mapping[str, str] = field(default_factory=dict)
    plugins: Sequence[str] = ()
    trust: bool = False


class Background:
    """One process at a time; ``take`` hears each section, from another thread."""

    def __init__(self, take: Callable[[Section], None]) -> None:
        self._take = take
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._busy = self._closed = False
        self._rests_until = 0.0

    @property
    def busy(self) -> bool:
        """Whether sections are being made."""
        return self._busy

    def ready(self, training: bool) -> bool:
        """Whether sections may be made; beside training that is so for a fifth of the time at most."""
        return not self._busy and (not training or time.monotonic() >= self._rests_until)

    def make(self, request: Request) -> None:
        """Begin to make sections; not to be called while they are being made."""
        self._busy = True
        start([threading.Thread(target=self._run, args=[request], name="netspec-page", daemon=True)])

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def _run(self, request: Request) -> None:
        began = time.monotonic()
        try:
            self._hear(request)
        except (OSError, ValueError) as error:
            if not self._closed:
                print(f"netspec watch: sections cannot be made: {error}", file=sys.stderr)
        finally:
            ended = time.monotonic()
            self._rests_until = ended + _PAUSE * (ended - began)
            self._busy = False

    def _hear(self, request: Request) -> None:
        with self._lock:
            if self._closed:
                return
            command, pipe = [sys.executable, "-m", "netspec.page.background"], subprocess.PIPE
            # In a session of its own, so that Ctrl-C reaches the server alone, which then ends it.
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
            self._process = process
        with process:
            assert process.stdin and process.stdout
            process.stdin.write(json.dumps(asdict(request)))
            process.stdin.close()
            for line in process.stdout:
                self._take(Section(**json.loads(line)))
        if process.returncode and not self._closed:
            raise OSError(f"the process that makes them has ended with exit code {process.returncode}")


def main() -> None:
    """Make what stdin asks for."""
    request = Request(**json.load(sys.stdin))
    _step_back(request.training)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print is no section
    from netspec.registry import load_plugin, trust

    for path in request.plugins:
        load_plugin(path)
    with trust.asking() if request.trust else nullcontext():
        _make(request, out)


def _make(request: Request, out: TextIO) -> None:
    for part in parts([Path(run) for run in request.runs], request.labels, lambda line: None, request.images):
        if not part.live:
            print(json.dumps(asdict(_made(part, request.training))), file=out, flush=True)


def _step_back(training: bool) -> None:
    """Keep to one core while a run goes on; the server has given way already."""
    if training and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _made(part: Part, training: bool) -> Section:
    if training and part.anchor == TIMED:
        return Section(part.anchor, part.title, note(_LATER))
    try:
        return part.section()
    except Exception as error:  # the other sections are of use
        return Section(part.anchor, part.title, note(_fault(error)))


def _fault(error: Exception) -> str:
    return f"internal error: {type(error).__name__}: {error} (netspec report shows more)"


if __name__ == "__main__":
    try:
        main()
    except NetspecError as error:
        sys.exit(str(error))
    except BrokenPipeError:  # the server is gone
        os._exit(1)
