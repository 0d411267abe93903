"""Writes checkpoints beside the training, and keeps the last few and the best of them."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from netspec.errors import NetspecError
from netspec.events import CheckpointWritten, Note
from netspec.runners import checkpoint
from netspec.runners.checkpoint import SUFFIX, Checkpoint, Damaged

KEEP = 3
"""How many of the newest checkpoints are kept, beside the best."""

_NAME = re.compile(r"iteration-(\d+)" + re.escape(SUFFIX))


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


def newest_whole(folder: Path) -> tuple[Checkpoint | None, list[Damaged]]:
    """The newest checkpoint that is whole, and what is wrong with those newer than it."""
    damaged: list[Damaged] = []
    for path in listed(folder):
        try:
            return checkpoint.read(path), damaged
        except Damaged as error:
            damaged.append(error)
    return None, damaged


def best(folder: Path) -> Kept | None:
    """The checkpoint with the least error, else the newest; None where there is none that can be read."""
    kept = _kept(folder)
    return min(kept, key=lambda each: (each.score, -each.iteration), default=None)


def _kept(folder: Path) -> list[Kept]:
    """What lies in the folder, oldest first; damaged files are passed over."""
    kept = []
    for path in reversed(listed(folder)):
        with contextlib.suppress(Damaged):
            record = checkpoint.read_record(path)
            kept.append(Kept(record.iteration, record.score, path))
    return kept


class Saver:
    """Writes one checkpoint at a time in a thread of its own; training waits only while tensors are copied.

    What goes wrong in the thread is raised by the next call. Call from one thread only.
    """

    def __init__(self, folder: Path, keep: int = KEEP) -> None:
        self.folder, self.keep = folder, keep
        self.last: Path | None = None
        self._kept = _kept(folder)
        self._thread: threading.Thread | None = None
        self._written: CheckpointWritten | None = None
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._thread is not None and self._thread.is_alive()

    def save(self, make: Callable[[], Checkpoint]) -> list[CheckpointWritten]:
        """Copy the tensors with ``make`` and have them written; returns the event of an earlier one, if any is due.

        Waits for the earlier one. Raises NetspecError when that could not be written.
        """
        began = time.perf_counter()
        due = self.wait()
        made = make()
        stall = time.perf_counter() - began
        self._thread = threading.Thread(target=self._run, args=(made, stall), name="netspec-checkpoint", daemon=True)
        self._thread.start()
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

    def _run(self, made: Checkpoint, stall: float) -> None:
        try:
            self._written = self._write(made, stall)
        except BaseException as error:  # raised by the training thread
            self._error = error

    def _write(self, made: Checkpoint, stall: float) -> CheckpointWritten:
        record = made.record
        path = path_of(self.folder, record.iteration)
        nbytes = checkpoint.write(path, made)
        self.last = path
        self._kept = [kept for kept in self._kept if kept.path != path]
        least = min((kept.score for kept in self._kept), default=float("inf"))
        self._kept.append(Kept(record.iteration, record.score, path))
        self._prune()
        return CheckpointWritten(str(path), record.iteration, nbytes, stall, record.measured and record.score <= least)

    def _prune(self) -> None:
        best = min(self._kept, key=lambda kept: (kept.score, -kept.iteration))
        keep = {kept.path for kept in self._kept[-self.keep :]} | {best.path}
        for kept in self._kept:
            if kept.path not in keep:
                kept.path.unlink(missing_ok=True)
        self._kept = [kept for kept in self._kept if kept.path in keep]


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
