"""Writes checkpoints beside the training, and keeps the last few and the best of them."""

from __future__ import annotations

import contextlib
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from netspec.errors import NetspecError
from netspec.events import CheckpointWritten, Note
from netspec.machine.atomic_files import told
from netspec.rundir.run_files import Damaged
from netspec.runners.execution.trace import Trace
from netspec.runners.training import checkpoint
from netspec.runners.training.checkpoint import SUFFIX, Checkpoint, Record, Tensors
from netspec.store.write_gate import Gate

KEEP = 3
"""How many of the newest checkpoints are kept, beside the best."""

_NAME = re.compile(r"iteration-([0-9]+)" + re.escape(SUFFIX))


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkpoint that lies in the folder: its iteration, and its score (less is better; infinite: not measured)."""

    iteration: int
    score: float
    path: Path


def path_of(folder: Path, iteration: int) -> Path:
    """Where the checkpoint of an iteration lies; names sort by iteration."""
    return folder / f"iteration-{iteration:08d}{SUFFIX}"


def listed(folder: Path) -> list[Path]:
    """The checkpoint files of a folder, newest first, whole or not."""
    found = [path for path in folder.glob("*" + SUFFIX) if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.stem.split("-")[1]), reverse=True)


def newest_whole(
    folder: Path, check: Callable[[Checkpoint], None] = lambda found: None
) -> tuple[Checkpoint | None, list[Damaged]]:
    """The newest checkpoint that is whole and finite, and what is wrong with those newer than it.

    ``check`` raises Damaged for one that is of no use. Where that is so of all of them, the reason may lie elsewhere,
    as in a plugin that is not at hand: the newest of them is then given, and not counted as damaged.
    """
    damaged: list[Damaged] = []
    whole: list[Path] = []
    newest: Checkpoint | None = None
    for path in listed(folder):
        try:
            found = checkpoint.read(path)
            whole.append(path)
            newest = newest or found
            check(found)
            return found, damaged
        except Damaged as error:
            damaged.append(error)
    return newest, [error for error in damaged if error.path not in whole]


def ranked(folder: Path, damaged: list[Damaged] | None = None) -> list[Kept]:
    """The checkpoints whose records can be read, the one with the least error first; of equals the newest.

    What is wrong with the others is added to ``damaged``.
    """
    return sorted(_kept(folder, damaged), key=_rank)


def _rank(kept: Kept) -> tuple[float, int]:
    return kept.score, -kept.iteration


def _kept(folder: Path, damaged: list[Damaged] | None = None) -> list[Kept]:
    """What lies in the folder, oldest first; damaged files are passed over."""
    kept = []
    for path in reversed(listed(folder)):
        try:
            record = checkpoint.read_record(path)
        except Damaged as error:
            if damaged is not None:
                damaged.append(error)
        else:
            kept.append(Kept(record.iteration, record.score, path))
    return kept


class Copied(Protocol):
    """What a Saver needs of a Store."""

    gate: Gate

    def begin_copy(self) -> Callable[[], Tensors]:
        """See netspec.store."""


class NoSaver:
    """The Saver of a process that writes no checkpoints, since rank 0 does; ``give`` hands it what it lacks."""

    last = None

    def __init__(self, give: Callable[[], object] = lambda: None) -> None:
        self._give = give

    def save(self, record: Record) -> list[CheckpointWritten]:
        """See Saver."""
        self._give()
        return []

    def poll(self) -> list[CheckpointWritten]:
        """See Saver."""
        return []

    def wait(self) -> list[CheckpointWritten]:
        """See Saver."""
        return []


class Saver:
    """Copies and writes one checkpoint at a time in a thread of its own.

    Training goes on meanwhile, up to the moment that it would renew the tensors: where the copy is then not done, it
    waits. What goes wrong in the thread is raised by the next call. Call from one thread only.
    """

    def __init__(self, folder: Path, store: Copied, keep: int = KEEP, trace: Trace | None = None) -> None:
        self.folder, self.store, self.keep, self.trace = folder, store, keep, trace
        self.last: Path | None = None
        self._kept = _kept(folder)
        self._thread: threading.Thread | None = None
        self._written: CheckpointWritten | None = None
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._thread is not None and self._thread.is_alive()

    def save(self, record: Record) -> list[CheckpointWritten]:
        """Have the tensors written as they are now; returns the event of an earlier one, if any is due.

        Waits for the earlier one. Raises NetspecError when that could not be written.
        """
        began = time.perf_counter()
        due = self.wait()
        with _roomy():
            copy = self.store.begin_copy()
        args = (record, copy, time.perf_counter() - began)
        self._thread = threading.Thread(target=self._run, args=args, name="netspec-checkpoint", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the system has no thread to spare; the copy is due all the same
            self._thread = None
            self._run(*args)
        return due

    def poll(self) -> list[CheckpointWritten]:
        """The event of a checkpoint that has come to lie on disk since the last call. Raises as ``save`` does."""
        return [] if self._thread is None or self._thread.is_alive() else self.wait()

    def wait(self) -> list[CheckpointWritten]:
        """Wait for the thread; then as ``poll``."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error
        written, self._written = self._written, None
        return [written] if written else []

    def _run(self, record: Record, copy: Callable[[], Tensors], stall: float) -> None:
        try:
            with _roomy():
                self._written = self._write(record, copy, stall)
        except BaseException as error:  # raised by the training thread
            self._error = error

    def _write(self, record: Record, copy: Callable[[], Tensors], stall: float) -> CheckpointWritten:
        began = time.perf_counter()
        path = path_of(self.folder, record.iteration)
        with self._span(f"copy at iteration {record.iteration}"):
            tensors = copy()
        with self._span(f"write at iteration {record.iteration}"):
            nbytes = checkpoint.write(path, Checkpoint(record, tensors))
        seconds, stall = time.perf_counter() - began, stall + self.store.gate.waited
        self.last = path
        self._kept = [kept for kept in self._kept if kept.path != path]
        least = min((kept.score for kept in self._kept), default=float("inf"))
        self._kept.append(Kept(record.iteration, record.score, path))
        self._prune()
        is_best = math.isfinite(record.score) and record.score <= least
        return CheckpointWritten(str(path), record.iteration, nbytes, stall, is_best, seconds)

    @contextlib.contextmanager
    def _span(self, name: str) -> Iterator[None]:
        start = self.trace.now() if self.trace else 0.0
        yield
        if self.trace:
            self.trace.span("host", "checkpoints", name, start)

    def _prune(self) -> None:
        best = min(self._kept, key=_rank)
        keep = {kept.path for kept in self._kept[-self.keep :]} | {best.path}
        for kept in self._kept:
            if kept.path not in keep:
                with told(kept.path):
                    kept.path.unlink(missing_ok=True)
        self._kept = [kept for kept in self._kept if kept.path in keep]


@contextlib.contextmanager
def _roomy() -> Iterator[None]:
    """Say what the memory was for where there was too little."""
    try:
        yield
    except MemoryError as error:
        raise NetspecError(f"no memory for a copy of the network, which a checkpoint needs ({error})") from error


def set_aside(damaged: Sequence[Damaged]) -> list[Note]:
    """Rename damaged checkpoints, so that they are neither taken nor counted again; a line for each."""
    notes = []
    for error in damaged:
        aside = error.path.with_name(error.path.name + ".damaged")
        try:
            error.path.replace(aside)
        except OSError as fault:
            raise NetspecError(f"{error.path}: cannot be renamed: {fault.strerror}") from fault
        notes.append(Note(f"{error}; set aside as {aside.name}"))
    return notes
