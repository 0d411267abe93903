"""Run directories: ``OUT/<name>/<time>/``, what lies in them, who may write to them, and the list of all of them.

    spec.yaml             as given                    metrics.jsonl   see netspec.rundir.metrics
    spec.resolved.yaml    everything written out      log.txt         lines for people
    environment.json      of the latest start         history.jsonl   each start, resumption and end
    classes.txt           one name a line             checkpoints/    iteration-00000123.safetensors
    mean.npy              the mean image, float32     lock            held while a process trains here
    start.json            what a run without a checkpoint starts again from
    broken-images.txt     images that could not be read, where there are any
    plugins/              copies of the plugin files that the run was started with, where there are any
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import json
import os
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Literal

from netspec.errors import NetspecError
from netspec.machine.atomic_files import disk_error, remove_unfinished, told, write_text
from netspec.rundir.metrics import FILE as METRICS
from netspec.rundir.metrics import Lines, read_metrics

CHECKPOINTS, HISTORY, LOCK, LOG = "checkpoints", "history.jsonl", "lock", "log.txt"
BROKEN = "broken-images.txt"
RESOLVED, GIVEN, START = "spec.resolved.yaml", "spec.yaml", "start.json"
ENVIRONMENT, CLASSES, MEAN = "environment.json", "classes.txt", "mean.npy"

_LINUX = sys.platform == "linux"
_FLOCK, _FLOCK_TYPE = ("@hhqqi0q", 0) if _LINUX else ("@qqihh", 3)
"""The system's struct flock: type, whence, start, length, pid on Linux; start, length, pid, type, whence on BSDs."""
_ASKED = (fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0) if _LINUX else (0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET)

_LONGEST_LINE = 2**20

Status = Literal["running", "finished", "interrupted", "failed", "killed"]


class RunDirectory:
    """A run directory that this process holds the lock of; close it, or use it in a ``with``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with told(path):
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        self._lock = _Lock(path / LOCK)
        try:
            remove_unfinished(path)
            remove_unfinished(self.checkpoints)
            self._log = Lines(path / LOG)
        except BaseException:
            self._lock.release()
            raise

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

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Keep the environment record."""
        write_text(self.path / ENVIRONMENT, json.dumps(environment, indent=2) + "\n")

    def write_classes(self, classes: Sequence[str]) -> None:
        """Keep the class names, one a line in the order of their indices; escaped where a name holds a line break."""
        write_text(self.path / CLASSES, "".join(name.replace("\n", "\\n") + "\n" for name in classes))

    def log(self, text: str) -> None:
        """Append lines to the log, with the time."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        for line in text.splitlines():
            self._log.write(f"{stamp}  {line}")

    def record(self, what: str, **details: Any) -> None:
        """Append one entry to the run's history."""
        history = Lines(self.path / HISTORY)
        try:
            history.write(json.dumps({"what": what, "time": round(time.time(), 3), **details}))
        finally:
            history.close()

    def close(self) -> None:
        """Close the log and let others have the directory."""
        self._log.close()
        self._lock.release()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _make_new(parent: Path, stamp: str) -> Path:
    number = 1
    while True:
        path = parent / (stamp if number == 1 else f"{stamp}_{number}")
        try:
            path.mkdir()
            return path
        except FileExistsError:
            number += 1


class _Lock:
    """An exclusive lock that the system lets go when the process dies, however it dies.

    Record locks belong to the process, so data workers that outlive a killed trainer for a moment do not hold it; that
    is also why a second run in the same process is told apart by ``_held``.
    """

    _held: set[Path] = set()

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        if self.path in self._held:
            raise NetspecError(_busy(path.parent, str(os.getpid())))
        with told(path):
            self._file: IO[str] = open(path, "a+")
        self._take()
        self._held.add(self.path)

    def _take(self) -> None:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read().strip()
            self._file.close()
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise disk_error(self.path, error) from error
            raise NetspecError(_busy(self.path.parent, holder)) from None
        with told(self.path):
            self._file.truncate(0)
            self._file.write(f"{os.getpid()}\n")
            self._file.flush()

    def release(self) -> None:
        """Let go."""
        self._file.close()
        self._held.discard(self.path)


def _busy(folder: Path, holder: str) -> str:
    return f"{folder}: process {holder or 'unknown'} is training here; wait for it, stop it, or start a run of its own"


def is_locked(folder: Path) -> bool:
    """Whether a process is training in the directory. Only asks: a run that starts meanwhile is not in its way."""
    path = folder / LOCK
    if path.resolve() in _Lock._held:
        return True
    with contextlib.suppress(OSError), open(path, "rb") as file:  # where there is none, nobody holds it
        answer = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(_FLOCK, *_ASKED)))
        return bool(answer[_FLOCK_TYPE] != fcntl.F_UNLCK)
    return False


def run_folders(out: str | Path, name: str | None = None) -> list[Path]:
    """The run directories under ``out``, of one spec's name or of all; the one that began last comes first."""
    pattern = glob.escape(name) if name else "*"
    found = [path.parent for path in Path(out).glob(f"{pattern}/*/{RESOLVED}")]
    return sorted(found, key=lambda path: (began(path), path.name, str(path)), reverse=True)


def began(folder: Path) -> float:
    """When a run began, in seconds since 1970 (UTC); its name has the time of whatever time zone it was made in."""
    for name in (HISTORY, METRICS):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError), open(folder / name, "rb") as file:
            return float(json.loads(file.readline(_LONGEST_LINE))["time"])
    return (folder / RESOLVED).stat().st_mtime  # killed before it wrote a line


def read_history(folder: str | Path) -> list[dict[str, Any]]:
    """The entries of the run's history, oldest first."""
    path = Path(folder) / HISTORY
    if not path.is_file():
        return []
    return list(_objects(path.read_text("utf-8", "replace")))


def _objects(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue  # the last line of a killed process


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of the list of runs: ``best`` validation errors by name, ``nbytes`` on disk, ``seconds`` at work."""

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


def runs(out: str | Path = "runs") -> list[RunSummary]:
    """All runs under ``out``; the one that began last comes first."""
    return [summary(folder) for folder in run_folders(out)]


def summary(folder: str | Path) -> RunSummary:
    """What the metrics of a run amount to."""
    folder = Path(folder)
    lines = read_metrics(folder)
    starts = [line for line in lines if line["event"] == "start"]
    counted = [line for line in lines if "iteration" in line]
    return RunSummary(
        folder=folder,
        name=folder.parent.name,
        status=_status(folder, lines),
        iteration=max((line["iteration"] for line in counted), default=0),
        total_iterations=starts[-1]["total_iterations"] if starts else 0,
        epoch=max((line["epoch"] for line in counted if line["event"] in ("evaluation", "finish")), default=0),
        best=_best(line["errors"] for line in lines if line["event"] == "evaluation"),
        nbytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        started=began(folder),
        seconds=_seconds(lines),
    )


def _seconds(lines: Sequence[Mapping[str, Any]]) -> float:
    """How long it ran, without the time between an end and a resumption."""
    return float(sum(after["time"] - before["time"] for before, after in pairwise(lines) if after["event"] != "start"))


def _status(folder: Path, lines: Sequence[Mapping[str, Any]]) -> Status:
    if is_locked(folder):
        return "running"
    last = [line for line in lines if line["event"] in ("start", "finish")]
    status: Status = last[-1]["status"] if last and last[-1]["event"] == "finish" else "killed"
    return status


def _best(errors: Iterator[Mapping[str, float]] | Any) -> dict[str, float]:
    best: dict[str, float] = {}
    for each in errors:
        for name, value in each.items():
            best[name] = min(value, best.get(name, 1.0))
    return best
