"""metrics.jsonl: what a run measured, one JSON object a line, appended as it happens.

Every line has ``event`` and ``time`` (seconds since 1970). Names and meanings stay; new keys may be added. Errors are
shares in [0, 1]; a number that is not finite is null. ``epoch`` and ``iteration`` count finished ones, except that an
``iteration`` line names the epoch in progress, from 1.

| event | keys |
|---|---|
| start | name, folder, epochs, iterations_per_epoch, total_iterations, iteration (0: new), batch, checkpoint_every |
| iteration | epoch, iteration, loss, errors {top1, top5}, learning_rate, images_per_second, waited, seconds, finite |
| evaluation | epoch, iteration, split, loss, errors, images, seconds, broken, views (1: the centre crop, or 10) |
| checkpoint | path, iteration, nbytes, stall, best, seconds |
| note | text |
| finish | status (finished, interrupted, failed), folder, iteration, epoch, seconds, errors, message, commands |

A resumed run appends a ``start`` line; lines before it that count more iterations than it starts from were lost with
the process that wrote them, and ``read_metrics`` leaves them out.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from netspec import events
from netspec.machine.atomic_files import told, write_all

FILE = "metrics.jsonl"

_NAMES: Mapping[type, str] = {
    events.RunStarted: "start",
    events.IterationDone: "iteration",
    events.EvaluationDone: "evaluation",
    events.CheckpointWritten: "checkpoint",
    events.Note: "note",
    events.RunFinished: "finish",
}


class Lines:
    """Appends lines to a file, each with one write, so that a killed process leaves whole lines but for the last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with told(path):
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            self._drop_torn_line()

    def _drop_torn_line(self) -> None:
        size = os.fstat(self._handle).st_size
        tail = os.pread(self._handle, 65536, max(size - 65536, 0))
        os.ftruncate(self._handle, size - len(tail) + tail.rfind(b"\n") + 1)

    def write(self, line: str) -> None:
        """Append one line. Raises NetspecError when the disk will not take it."""
        with told(self.path):
            write_all(self._handle, line.encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


def as_line(event: events.Event) -> str | None:
    """The event as a line of metrics.jsonl; None for those that are only shown."""
    name = _NAMES.get(type(event))
    if name is None:
        return None
    values = {field.name: _plain(getattr(event, field.name)) for field in fields(event)}
    return json.dumps({"event": name, "time": round(time.time(), 3), **values})


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """The run's lines in order, without what a later resumption made void; empty where there are none."""
    path = Path(folder) / FILE
    kept: list[dict[str, Any]] = []
    if not path.is_file():
        return kept
    for text in path.read_text("utf-8", "replace").splitlines():
        line = _parse(text)
        if line is None:
            continue
        if line["event"] == "start":
            kept = [old for old in kept if old.get("iteration", 0) <= line["iteration"]]
        kept.append(line)
    return kept


def _parse(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and "event" in line else None
