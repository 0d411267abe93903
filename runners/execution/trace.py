"""Chrome traces: what each queue did when, to look at in chrome://tracing or Perfetto."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from netspec.errors import NetspecError
from netspec.planning.plan import Step
from netspec.units import duration, many

MOST_SPANS = 200_000
"""Spans of a trace; later ones are left out. Some 50 MiB in memory, and as a file."""


class _Span(NamedTuple):
    """What was done in a lane, and when."""

    process: str
    lane: str
    name: str
    kind: str
    start: float
    seconds: float
    details: Mapping[str, Any]


class Trace:
    """Collects spans of steps and of the host, at most MOST_SPANS; times in microseconds since it was made."""

    def __init__(self) -> None:
        self._origin = time.perf_counter()
        self._spans: list[_Span] = []
        self._details: dict[int, tuple[Step, dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._full_at: float | None = None
        self._news: list[str] = []

    def now(self) -> float:
        """Microseconds since the trace began."""
        return (time.perf_counter() - self._origin) * 1e6

    def step(self, step: Step, start: float) -> None:
        """A step that began at ``start`` and has just ended."""
        _, details = self._details.get(id(step)) or self._details.setdefault(id(step), (step, _details(step)))
        crossing = step.op == "copy" and step.bytes > 0
        self.span(step.device, step.queue, step.name, start, details, "transfer" if crossing else step.op)

    def span(
        self,
        process: str,
        lane: str,
        name: str,
        start: float,
        details: Mapping[str, Any] | None = None,
        kind: str = "host",
    ) -> None:
        """Anything else that began at ``start`` and has just ended."""
        end = self.now()
        with self._lock:
            if len(self._spans) < MOST_SPANS:
                self._spans.append(_Span(process, lane, name, kind, start, end - start, details or {}))
            elif self._full_at is None:
                self._full_at = end
                self._news.append(f"the trace takes no more: {self.extent}")

    @property
    def extent(self) -> str:
        """How much it holds, for people."""
        spans = many(len(self._spans), "span")
        return spans if self._full_at is None else f"it has {spans}, the run's first {duration(self._full_at / 1e6)}"

    def news(self) -> list[str]:
        """Lines for people that have come up since this was last asked."""
        found, self._news = self._news, []
        return found

    @staticmethod
    def prepare(path: str | Path) -> None:
        """Find out before a long run whether ``write`` will be able to; NetspecError where it will not."""
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
            with open(handle, "ab"):
                regular = stat.S_ISREG(os.fstat(handle).st_mode)
        except OSError as error:
            raise NetspecError(f"{path}: the trace cannot be written: {error.strerror}") from error
        if not regular:
            raise NetspecError(f"{path}: the trace cannot be written: not a regular file")

    def write(self, path: str | Path) -> None:
        """Write the trace as JSON; NetspecError where the file cannot be written."""
        try:
            with open(path, "w") as file:
                file.write('{"displayTimeUnit": "ms", "traceEvents": [')
                for number, event in enumerate(self.events()):
                    file.write(f"{',' if number else ''}\n{json.dumps(event)}")
                file.write("\n]}\n")
        except OSError as error:
            raise NetspecError(f"{path}: the trace cannot be written: {error.strerror}") from error

    def events(self) -> Iterator[dict[str, Any]]:
        """The spans as events of the format; names of lanes come before what was done in them."""
        lanes: dict[tuple[str, str], int] = {}
        processes: dict[str, int] = {}
        with self._lock:
            spans = tuple(self._spans)
        for process, lane, name, kind, start, seconds, details in spans:
            pid = processes.setdefault(process, len(processes) + 1)
            if (process, lane) not in lanes:
                lanes[process, lane] = len(lanes) + 1
                yield {"name": "process_name", "ph": "M", "pid": pid, "args": {"name": process}}
                yield {"name": "thread_name", "ph": "M", "pid": pid, "tid": len(lanes), "args": {"name": lane}}
            place = {"ts": start, "dur": seconds, "pid": pid, "tid": lanes[process, lane]}
            yield {"name": name, "cat": kind, "ph": "X", **place, "args": details}


def _details(step: Step) -> dict[str, Any]:
    details: dict[str, Any] = {"op": step.op, "layer": step.layer, "after": list(map(str, step.after))}
    details |= {"flops": step.flops, "bytes": step.bytes}
    return {**details, "fused": list(step.others)} if step.fused else details
