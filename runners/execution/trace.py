"""Chrome traces: what each queue did when, to look at in chrome://tracing or Perfetto."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

from netspec.errors import NetspecError
from netspec.planning.plan import Step


class Trace:
    """Collects spans of steps and of the host; times in microseconds since it was made."""

    def __init__(self) -> None:
        self._origin = time.perf_counter()
        self._events: list[dict[str, Any]] = []
        self._lanes: dict[tuple[str, str], tuple[int, int]] = {}
        self._lock = threading.Lock()

    def now(self) -> float:
        """Microseconds since the trace began."""
        return (time.perf_counter() - self._origin) * 1e6

    def step(self, step: Step, start: float) -> None:
        """A step that began at ``start`` and has just ended."""
        details: dict[str, Any] = {"op": step.op, "after": list(map(str, step.after))}
        details |= {"flops": step.flops, "bytes": step.bytes}
        if step.fused:
            details["fused"] = [key.layer for key in step.fused]
        crossing = step.op == "copy" and step.bytes > 0
        self.span(step.device, step.queue, step.name, start, details, "transfer" if crossing else step.op)

    def span(
        self,
        process: str,
        lane: str,
        name: str,
        start: float,
        details: dict[str, Any] | None = None,
        kind: str = "host",
    ) -> None:
        """Anything else that began at ``start`` and has just ended."""
        end = self.now()
        with self._lock:
            pid, tid = self._lane(process, lane)
            self._events.append(
                {
                    "name": name,
                    "cat": kind,
                    "ph": "X",
                    "ts": start,
                    "dur": end - start,
                    "pid": pid,
                    "tid": tid,
                    "args": details or {},
                }
            )

    @staticmethod
    def prepare(path: str | Path) -> None:
        """Find out before a long run whether ``write`` will be able to; NetspecError where it will not."""
        try:
            open(path, "a").close()
        except OSError as error:
            raise NetspecError(f"{path}: the trace cannot be written: {error.strerror}") from error

    def write(self, path: str | Path) -> None:
        """Write the trace as JSON; NetspecError where the file cannot be written."""
        try:
            Path(path).write_text(json.dumps({"traceEvents": self._names() + self._events, "displayTimeUnit": "ms"}))
        except OSError as error:
            raise NetspecError(f"{path}: the trace cannot be written: {error.strerror}") from error

    def _lane(self, process: str, lane: str) -> tuple[int, int]:
        if (process, lane) not in self._lanes:
            pids = {name: pid for (name, _), (pid, _) in self._lanes.items()}
            self._lanes[process, lane] = pids.get(process, len(pids) + 1), len(self._lanes) + 1
        return self._lanes[process, lane]

    def _names(self) -> list[dict[str, Any]]:
        names: list[dict[str, Any]] = []
        for (process, lane), (pid, tid) in self._lanes.items():
            names.append({"name": "process_name", "ph": "M", "pid": pid, "args": {"name": process}})
            names.append({"name": "thread_name", "ph": "M", "pid": pid, "tid": tid, "args": {"name": lane}})
        return names
