"""metrics.jsonl: what a run measured, one JSON object a line, appended as it happens.

Every line has ``event`` and ``time`` (seconds since 1970). Names and meanings stay; new keys may be added. ``metrics``
says what is measured, before anything is: {NAME: {title, unit, better}}, unit "%" for shares in [0, 1], better lower or
higher; without it NAME is a share, but for loss, rmse and mae, and lower is better. What is not finite is null.
``epoch`` and ``iteration`` count finished ones, except that an ``iteration`` line names the epoch in progress, from 1.
``schema`` is the version of the JSON Schema that ``netspec schema --of metrics`` prints.

| event | keys |
|---|---|
| start | schema, name, folder, epochs, iterations_per_epoch, total_iterations, iteration |
| start | batch, checkpoint_every, metrics (by name: title, unit, better) |
| iteration | epoch, iteration, loss, errors {top1, top5}, learning_rate, images_per_second, waited, seconds, finite |
| evaluation | epoch, iteration, split, loss, errors, images, seconds, broken, views (1: the centre crop, or 10) |
| checkpoint | path, iteration, nbytes, stall, best, seconds |
| note | text |
| finish | status (finished, interrupted, failed), folder, iteration, epoch, seconds, errors, message, commands |

A resumed run appends a ``start`` line; lines before it that count more iterations than it starts from were lost with
the process that wrote them, and ``read_metrics`` leaves them out. Of a file of many iterations it reads a part, unless
the whole is asked for: all other lines, iterations at equal distances and the last ones.
"""

from __future__ import annotations

import json
import math
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from netspec import events
from netspec.measures import Measure, measures_from
from netspec.rundir.json_lines import Faults, numbered, parsed

FILE = "metrics.jsonl"
SCHEMA = 1
"""The version of what is written here: netspec schema --of metrics."""
RECENT = 50
"""The last iterations, of which each is read."""
_READ_BYTES = 8 * 2**20
"""How much of the iterations' lines is read, about: thirty thousand of them."""
_MOST_ERRORS = 8
_LATEST = 253_402_300_800
"""The year 10000, in seconds since 1970."""
_ITERATION = b'{"event": "iteration",'

_NAMES: Mapping[type, str] = {
    events.RunStarted: "start",
    events.IterationDone: "iteration",
    events.EvaluationDone: "evaluation",
    events.CheckpointWritten: "checkpoint",
    events.Note: "note",
    events.RunFinished: "finish",
}


def as_line(event: events.Event) -> str | None:
    """The event as a line of metrics.jsonl; None for those that are only shown."""
    name = _NAMES.get(type(event))
    if name is None:
        return None
    values = {field.name: _plain(getattr(event, field.name)) for field in fields(event)}
    if isinstance(event, events.EvaluationDone):  # the start has told of them
        del values["metrics"]
    version = {"schema": SCHEMA} if isinstance(event, events.RunStarted) else {}
    return json.dumps({"event": name, "time": round(time.time(), 3), **version, **values})


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Measure):
        return asdict(value)
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value


# Reading ------------------------------------------------------------------------------------------------------------


class Iterations:
    """Iterations as columns of numbers of one length, nan where a line has none; ``errors`` by name."""

    def __init__(self) -> None:
        self.iteration = array("q")
        self.loss, self.learning_rate = array("d"), array("d")
        self.seconds, self.images_per_second = array("d"), array("d")
        self.errors: dict[str, array[float]] = {}

    def __len__(self) -> int:
        return len(self.iteration)

    def add(self, line: Mapping[str, Any]) -> None:
        """Append a line's values."""
        errors = line.get("errors") or {}
        for name in errors:
            if name not in self.errors and len(self.errors) < _MOST_ERRORS:
                self.errors[name] = array("d", [math.nan]) * len(self)
        self.iteration.append(line["iteration"])
        for name, column in self.numbers():
            column.append(_number(line.get(name)))
        for name, column in self.errors.items():
            column.append(_number(errors.get(name)))

    def cut(self, iteration: int) -> None:
        """Take out the last ones, down to an iteration that is no later."""
        count = len(self)
        while count and self.iteration[count - 1] > iteration:
            count -= 1
        columns: list[array[Any]] = [self.iteration, *(column for _, column in self.numbers()), *self.errors.values()]
        for column in columns:
            del column[count:]

    def numbers(self) -> Iterator[tuple[str, array[float]]]:
        """The columns of numbers by name, but for the errors."""
        yield "loss", self.loss
        yield "learning_rate", self.learning_rate
        yield "seconds", self.seconds
        yield "images_per_second", self.images_per_second


def _number(value: float | None) -> float:
    return math.nan if value is None else value


@dataclass(slots=True)
class Metrics:
    """What a run's metrics hold, in order, without what a later resumption made void.

    ``began`` is the time of the first line, ``seconds`` how long it trained, the time between sessions left out;
    ``ended`` says that the last session wrote its end. ``faults`` are lines for people.
    """

    starts: list[dict[str, Any]] = field(default_factory=list)
    iterations: Iterations = field(default_factory=Iterations)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    finishes: list[dict[str, Any]] = field(default_factory=list)
    ended: bool = False
    iteration: int = 0
    began: float | None = None
    seconds: float = 0.0
    faults: tuple[str, ...] = ()

    @property
    def measures(self) -> dict[str, Measure]:
        """What is measured, as each session began by saying."""
        return {name: one for start in self.starts for name, one in measures_from(start.get("metrics")).items()}

    @property
    def iterations_per_epoch(self) -> int:
        """As the run began; 1 where nothing says so."""
        return (self.starts[0].get("iterations_per_epoch", 1) if self.starts else 1) or 1


def read_metrics(folder: str | Path, whole: bool = False) -> Metrics:
    """Read the metrics of a run directory; empty where there are none. Nothing that lies there raises.

    ``whole``: every iteration, however many there are.
    """
    path = Path(folder) / FILE
    faults = Faults(path)
    reading = _Reading(faults, stride=1 if whole else 1 + _size(path) // _READ_BYTES)
    for number, line in numbered(path, faults):
        if line.startswith(_ITERATION):
            reading.iteration(number, line)
        else:
            reading.other(number, line)
    return reading.end()


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


class _Reading:
    """Takes lines in; of iterations each ``stride``-th, and the last ones of each session."""

    def __init__(self, faults: Faults, stride: int) -> None:
        self.faults, self.stride = faults, stride
        self.metrics = Metrics()
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=RECENT)
        self._session: tuple[float, float] | None = None

    def iteration(self, number: int, line: bytes) -> None:
        """An iteration, which may be left unread."""
        if self.stride > 1:
            self._recent.append((number, line))
        if number % self.stride == 0:
            self._take(number, line)

    def other(self, number: int, line: bytes) -> None:
        """Any other line."""
        self._catch_up()
        self._take(number, line)

    def end(self) -> Metrics:
        """All that was read."""
        self._catch_up()
        self._end_session()
        self.metrics.faults = self.faults.told
        return self.metrics

    def _catch_up(self) -> None:
        """Read each of the last iterations."""
        lines = [(number, line) for number, text in self._recent if (line := self._checked(number, text))]
        self._recent.clear()
        if lines:
            self.metrics.iterations.cut(lines[0][1]["iteration"] - 1)
        for _, line in lines:
            self._add(line)

    def _take(self, number: int, text: bytes) -> None:
        line = self._checked(number, text)
        if line is not None:
            self._add(line)

    def _checked(self, number: int, text: bytes) -> dict[str, Any] | None:
        """The line; None for one that is no such line, which is told, and for one of a kind that is not known."""
        line = parsed(number, text, self.faults)
        if line is None or (wrong := _wrong(line)) is None:
            return line if line and line["event"] in _NEEDED else None
        self.faults.add(number, wrong)
        return None

    def _add(self, line: dict[str, Any]) -> None:
        metrics, event = self.metrics, line["event"]
        metrics.began = line["time"] if metrics.began is None else metrics.began
        if event == "start":
            self._start(line)
        elif event == "iteration":
            metrics.iterations.add(line)
        elif event == "evaluation":
            metrics.evaluations.append(line)
        elif event == "finish":
            metrics.finishes.append(line)
            metrics.ended = True
        if event != "note":
            metrics.iteration = max(metrics.iteration, line["iteration"])
            self._session = (self._session or (line["time"],))[0], line["time"]

    def _start(self, line: dict[str, Any]) -> None:
        self._end_session()
        metrics, start = self.metrics, line["iteration"]
        metrics.starts.append(line)
        metrics.iterations.cut(start)
        metrics.evaluations = [old for old in metrics.evaluations if old["iteration"] <= start]
        metrics.finishes = [old for old in metrics.finishes if old["iteration"] <= start]
        metrics.iteration, metrics.ended = start, False

    def _end_session(self) -> None:
        if self._session is not None:
            self.metrics.seconds += max(self._session[1] - self._session[0], 0.0)
        self._session = None


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and abs(value) < 1e300)


def is_time(value: Any) -> bool:
    """Whether it is a number of seconds since 1970 that a calendar has."""
    return type(value) in (int, float) and 0 <= value < _LATEST


def _is_errors(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and all(map(_is_number, value.values())))


_KINDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        ("iteration", "epoch", "total_iterations", "iterations_per_epoch"),
        (_is_count, "a whole number from 0 that fits 64 bits"),
    ),
    **dict.fromkeys(("loss", "learning_rate", "seconds", "images_per_second"), (_is_number, "a number or null")),
    "errors": (_is_errors, "numbers by name"),
    "time": (is_time, "seconds since 1970"),
    "status": (lambda value: value in ("finished", "interrupted", "failed"), "finished, interrupted or failed"),
}
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "start": ("time", "iteration"),
    "iteration": ("time", "iteration"),
    "evaluation": ("time", "iteration", "epoch"),
    "checkpoint": ("time", "iteration"),
    "note": ("time",),
    "finish": ("time", "iteration", "epoch", "status"),
}


def _wrong(line: Mapping[str, Any]) -> str | None:
    """What is wrong with a line, if anything; lines of other events may hold anything."""
    if not isinstance(line.get("event"), str):
        return "an object without an event"
    for name in _NEEDED.get(line["event"], ()):
        if name not in line:
            return f"{line['event']} without '{name}'"
    for name, (is_kind, kind) in _KINDS.items() if line["event"] in _NEEDED else ():
        if name in line and not is_kind(line[name]):
            return f"'{name}' is not {kind}"
    return None
