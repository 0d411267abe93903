"""Run directories: ``OUT/<name>/<time>/``, what lies in them, who may write to them, and the list of all of them.

    spec.yaml             as given                    metrics.jsonl   see netspec.rundir.metrics
    spec.resolved.yaml    everything written out      log.txt         lines for people
    environment.json      of the latest start         history.jsonl   each start, resumption and end
    classes.txt           one name a line             checkpoints/    iteration-00000123.safetensors
    mean.npy              the mean image, float32     lock            held while a process trains here
    start.json            what a run without a checkpoint starts again from
    log.rank1.txt         lines of the other processes of a run of several, see netspec.rundir.rank_log
    broken-images.txt     images that could not be read, where there are any
    plugins/              copies of the plugin files that the run was started with, where there are any
    tags.json             tags and a note, where it was given any
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from netspec._types import AnyPath, Status
from netspec.machine.atomic_files import remove_unfinished, told, write_text
from netspec.machine.cleanup import close_after, on_error, on_exit
from netspec.measures import Measures, measure_of
from netspec.rundir.differences import read_asked
from netspec.rundir.json_lines import Faults, Lines, numbered, parsed
from netspec.rundir.lock import Lock, is_locked
from netspec.rundir.metrics import FILE as METRICS
from netspec.rundir.metrics import Metrics, is_time, read_metrics
from netspec.rundir.run_files import Damaged
from netspec.rundir.tags import Tags, read_tags

CHECKPOINTS, HISTORY, LOG = "checkpoints", "history.jsonl", "log.txt"
BROKEN = "broken-images.txt"
RESOLVED, GIVEN, START = "spec.resolved.yaml", "spec.yaml", "start.json"
ENVIRONMENT, CLASSES, MEAN = "environment.json", "classes.txt", "mean.npy"


class RunDirectory:
    """A run directory that this process holds the lock of; close it, or use it in a ``with``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with told(self.checkpoints):
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(path)
        with on_error(self._lock.release):
            remove_unfinished(path)
            remove_unfinished(self.checkpoints)
            self._log = Lines(path / LOG)

    @classmethod
    def create(cls, out: str | Path, name: str, now: datetime | None = None) -> RunDirectory:
        """Make a new run directory, named by the time to the second. Raises NetspecError where it cannot be made."""
        parent = Path(out) / name
        stamp = (now or datetime.now()).strftime("%Y-%m-%d_%H-%M-%S")
        with told(parent):
            parent.mkdir(parents=True, exist_ok=True)
            return cls(_make_new(parent, stamp))

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / CHECKPOINTS

    def write_specs(self, given: str, resolved: str) -> None:
        """Keep the spec, as given and resolved."""
        write_text(self.path / GIVEN, given)
        write_text(self.path / RESOLVED, resolved)

    def metrics(self) -> Lines:
        """The file of measurements, to append to."""
        return Lines(self.path / METRICS)

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Keep the environment record."""
        write_text(self.path / ENVIRONMENT, json.dumps(environment, indent=2) + "\n")

    def write_classes(self, classes: Sequence[str]) -> None:
        """Keep the class names, one a line in the order of their indices; escaped where a name holds a line break."""
        write_text(self.path / CLASSES, "".join(name.replace("\n", "\\n") + "\n" for name in classes))

    def log(self, text: str) -> None:
        """Append lines to the log, with the time."""
        log_lines(self._log, text)

    def record(self, what: str, **details: Any) -> None:
        """Append one entry to the run's history."""
        history = Lines(self.path / HISTORY)
        with on_exit(history.close):
            history.write(json.dumps({"what": what, "time": round(time.time(), 3), **details}))

    def close(self) -> None:
        """Close the log and let others have the directory."""
        with on_exit(self._lock.release):
            self._log.close()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        close_after(error, self.close)


def log_lines(log: Lines, text: str) -> None:
    """Append lines to a log, with the time."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    for line in text.splitlines():
        log.write(f"{stamp}  {line}")


def _make_new(parent: Path, stamp: str) -> Path:
    number = 1
    while True:
        path = parent / (stamp if number == 1 else f"{stamp}_{number}")
        try:
            path.mkdir()
            return path
        except FileExistsError:
            number += 1


def run_folders(out: str | Path, name: str | None = None) -> list[Path]:
    """The run directories under ``out``, of one spec's name or of all; the one that began last comes first."""
    pattern = glob.escape(name) if name else "*"
    return _newest_first(path.parent for path in Path(out).glob(f"{pattern}/*/{RESOLVED}"))


def runs_at(place: AnyPath) -> list[Path]:
    """The run directories that a path stands for, the one that began last first.

    That is itself, or those that lie in it, or in folders in it, as in ``OUT`` and in ``OUT/<name>``.
    """
    place = Path(place)
    if os.path.lexists(place / RESOLVED):
        return [place]
    return _newest_first(path.parent for depth in ("*", "*/*") for path in place.glob(f"{depth}/{RESOLVED}"))


def _newest_first(found: Iterable[Path]) -> list[Path]:
    return sorted(found, key=lambda path: (began(path), path.name, str(path)), reverse=True)


def began(folder: Path) -> float:
    """When a run began, in seconds since 1970 (UTC); its name has the time of whatever time zone it was made in."""
    for name in (HISTORY, METRICS):
        faults = Faults(folder / name)
        with contextlib.closing(numbered(folder / name, faults)) as lines:
            entry = next((parsed(number, line, faults) for number, line in lines), None)
        if entry is not None and is_time(entry.get("time")):
            return float(entry["time"])
    with contextlib.suppress(OSError):
        return (folder / RESOLVED).lstat().st_mtime  # killed before it wrote a line
    return 0.0


def read_history(folder: str | Path) -> list[dict[str, Any]]:
    """The entries of the run's history, oldest first; what is no entry is passed over."""
    faults = Faults(Path(folder) / HISTORY)
    entries = (parsed(number, line, faults) for number, line in numbered(faults.path, faults))
    return [entry for entry in entries if entry is not None]


def changed_later(folder: str | Path) -> dict[str, Any]:
    """Values of its spec that resumptions of a run changed, by path, in the order in which they were first changed."""
    found: dict[str, Any] = {}
    for entry in read_history(folder):
        changed = entry.get("changed") if entry.get("what") == "resume" else None
        found |= changed if isinstance(changed, dict) else {}
    return found


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of the list of runs: ``best`` validation errors by name, or the loss, ``nbytes`` on disk, ``seconds``
    at work. ``metrics`` says what the numbers in ``best`` are.

    ``changed`` has the values that the command line changed of its spec, by path, but for the ``seed``. ``faults``
    says, in a line each, what in its files is not what a run writes.
    """

    folder: Path
    name: str
    status: Status
    iteration: int
    total_iterations: int
    epoch: int
    best: Mapping[str, float]
    nbytes: int
    started: float
    seconds: float
    faults: tuple[str, ...] = ()
    seed: int | None = None
    changed: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    note: str = ""
    metrics: Measures = field(default_factory=dict)


def described(folder: Path) -> RunSummary:
    """The summary of a run with what it was asked for, its tags and its note."""
    made, asked, tags = summary(folder), read_asked(folder / START, changed_later(folder)), Tags()
    faults = [*made.faults, *asked.faults]
    try:
        tags = read_tags(folder)
    except Damaged as error:
        faults.append(str(error))
    more = replace(made, seed=asked.seed, changed=asked.changed, tags=tags.tags, note=tags.note)
    return replace(more, faults=tuple(faults))


def runs(out: str | Path = "runs") -> list[RunSummary]:
    """All runs under ``out``; the one that began last comes first."""
    return [described(folder) for folder in run_folders(out)]


def summary(folder: str | Path) -> RunSummary:
    """What the metrics of a run amount to."""
    return summarise(Path(folder), read_metrics(folder))


def summarise(folder: Path, metrics: Metrics) -> RunSummary:
    """The same of metrics that have been read."""
    epochs = [line["epoch"] for line in (*metrics.evaluations, *metrics.finishes)]
    return RunSummary(
        folder=folder,
        name=folder.absolute().parent.name,
        status=_status(folder, metrics),
        iteration=metrics.iteration,
        total_iterations=metrics.starts[-1].get("total_iterations", 0) if metrics.starts else 0,
        epoch=max(epochs, default=0),
        best=_best(metrics),
        metrics=metrics.measures,
        nbytes=sum(_sizes(folder)),
        started=began(folder),
        seconds=metrics.seconds,
        faults=metrics.faults,
    )


def _sizes(folder: Path) -> Iterable[int]:
    """Bytes of each file; of one that is deleted meanwhile, none."""
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                yield os.lstat(os.path.join(place, name)).st_size


def _status(folder: Path, metrics: Metrics) -> Status:
    if is_locked(folder):
        return "running"
    status: Status = metrics.finishes[-1]["status"] if metrics.ended else "killed"
    return status


def _best(metrics: Metrics) -> dict[str, float]:
    best: dict[str, float] = {}
    declared = metrics.measures
    for line in metrics.evaluations:
        for name, value in (line.get("errors") or {"loss": line.get("loss")}).items():
            if value is not None:
                best[name] = measure_of(name, declared).better_of(value, best.get(name, value))
    return best
