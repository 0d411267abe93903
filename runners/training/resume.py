"""Resuming a run: which checkpoint, and what may differ from the run that wrote it.

A resumed run has the settings that it recorded, with two kinds of changes laid over them: what has been edited in the
spec file since, and what the command line says. Changes of ``train.*`` and of ``replicas`` are taken, shown and
recorded; the network, the images and the seed must be the same, or the run would be another one.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from netspec.data.dataset import Dataset
from netspec.data.index.classes import class_name, listed
from netspec.data.index.listing import nested_hint
from netspec.data.source import Split
from netspec.errors import NetspecError, NoSuchFile, SpecError
from netspec.metrics import decisive
from netspec.rundir.differences import changes, differences
from netspec.rundir.directory import CHECKPOINTS, START, run_folders
from netspec.rundir.run_files import Damaged
from netspec.runners.training import checkpoint, saver
from netspec.runners.training.checkpoint import Checkpoint, Record, Tensors
from netspec.runners.training.saver import newest_whole
from netspec.spec import from_canonical

Canonical = Mapping[str, Any]

_PLACE = tuple(f"data.source.{key}" for key in ("type", "path", "train", "val"))
_TAKEN = ("train", "replicas", "data.workers", "data.resident", "data.views", *_PLACE)
_FREE = ("name", *_TAKEN)
"""What may differ, with all that lies below. Images may have moved: they are compared themselves."""
_FIXED = ("train.seed", "train.init_from")
_WHOLE = (
    *("train.solver", "train.schedule", "train.scale", "train.ema", "train.early_stopping", "train.metrics"),
    "data.source",
)
_NAMES_SAMPLED = 256


@dataclass(frozen=True, slots=True)
class Origin:
    """What a run goes on from.

    ``tensors`` is None for a run that was killed before its first checkpoint: it starts again. ``folder`` is the run
    directory to go on in, None for a checkpoint file by itself, from which a new run branches off.
    """

    record: Record
    tensors: Tensors | None
    path: Path
    folder: Path | None
    damaged: Sequence[Damaged] = ()

    @property
    def told(self) -> str:
        """One line that says what was taken."""
        if self.tensors is None:
            return f"{self.path}: no checkpoint yet; starting again from the beginning, as the seed decides everything"
        return f"going on from {self.path}, iteration {self.record.iteration:,}"


def locate(resume: str, out: str | Path, name: str | None) -> Path:
    """What ``--resume`` means: a checkpoint file, a run directory, or "latest", the run of that name that began last.

    Raises NetspecError where there is nothing to go on from.
    """
    path = _latest(out, name) if resume == "latest" else Path(resume)
    if not path.exists():
        raise NoSuchFile(f"{resume}: no such run directory or checkpoint")
    if path.is_dir() and not os.path.lexists(path / START) and not saver.listed(path / CHECKPOINTS):
        raise NetspecError(f"{path}: not a run directory, or of a run that never began")
    return path


def _latest(out: str | Path, name: str | None) -> Path:
    for folder in run_folders(out, name):
        if os.path.lexists(folder / START):
            return folder
    raise NetspecError(f"{Path(out) / (name or '*')}: no run to resume; leave out --resume, or name its directory")


def origin_at(path: Path) -> Origin:
    """Read a checkpoint file, or a run directory's newest one that is whole.

    Raises NetspecError where none is, naming those that are damaged.
    """
    if not path.is_dir():
        found = checkpoint.read(checkpoint.named(path))
        return Origin(found.record, found.tensors, path, None)
    newest, damaged = newest_whole(path / CHECKPOINTS, _check_specs)
    if newest is not None and newest.path is not None:
        return Origin(newest.record, newest.tensors, newest.path, path, damaged)
    if damaged:
        raise NetspecError(f"{path}: no checkpoint is whole and finite:\n" + "\n".join(map(str, damaged)))
    return Origin(checkpoint.record_from(path / START), None, path, path)


def _check_specs(found: Checkpoint) -> None:
    """Raise Damaged for a checkpoint whose specs are none; with plugins, which are not loaded yet, nobody can tell."""
    assert found.path is not None
    if found.record.plugins:
        return
    for recorded in (found.record.spec, found.record.given):
        try:
            from_canonical(recorded)
        except SpecError as error:
            raise Damaged(found.path, f"its spec is none: {error.problems[0].message}") from error


def edited(record: Record, given: Canonical) -> list[str]:
    """``--set`` texts for what has been edited in the spec file since. Raises NetspecError for what must not be."""
    changed = differences(record.given, given)
    refuse(changed, "the spec file differs from the run's")
    taken = values([path for path in changed if _below(path, _TAKEN)], given)
    return [f"{path}={json.dumps(value)}" for path, value in taken.items()]


def values(paths: Iterable[str], spec: Canonical) -> dict[str, Any]:
    """The values that a spec has at these paths, by what can be set there."""
    return {path: _at(spec, path) for path in dict.fromkeys(map(_whole, paths))}


def _whole(path: str) -> str:
    """What decides by its type, or by being there, which settings it has is set as a whole."""
    return next((whole for whole in _WHOLE if _below(path, (whole,))), path)


def _at(spec: Canonical, path: str) -> Any:
    value: Any = spec
    for key in path.split("."):
        value = value[key]
    return value


def refuse(changed: Mapping[str, tuple[Any, Any]], what: str) -> None:
    """Raise NetspecError for changes that would make it another run."""
    wrong = [path for path in changed if _below(path, _FIXED) or not _below(path, _FREE)]
    if wrong:
        lines = shown({path: changed[path] for path in wrong})
        remedy = "a resumed run has the same network, data, seed and start; or leave out --resume"
        raise NetspecError(f"cannot resume the run: {what}:\n  " + "\n  ".join(lines) + f"\n({remedy})")


def _below(path: str, roots: Sequence[str]) -> bool:
    return any(path == root or path.startswith(root + ".") for root in roots)


def shown(changed: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Changes for people, one a line."""
    return [f"{path}: {_short(old)} -> {_short(new)}" for path, (old, new) in changed.items()]


def _short(value: Any) -> str:
    text = "none" if value is None else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def other_code(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """A line where other machine code computes than before, see netspec.machine.environment.code_choices."""
    changed = changes(old, new) if old else {}  # version 0.1 recorded nothing
    return [f"other machine code than before ({'; '.join(shown(changed))}): numbers may differ"] if changed else []


def other_kernels(record: Record, tuned: Mapping[str, str]) -> list[str]:
    """A line where ``netspec tune`` has since had other kernels chosen than those that the run was trained with."""
    steps = [step for step in {**record.tuned, **tuned} if record.tuned.get(step) != tuned.get(step)]
    layers = ", ".join(dict.fromkeys(step.partition(" ")[2].partition(".")[0] for step in steps))
    line = f"{layers}: other kernels than before, as measured by netspec tune; the numbers will differ in rounding"
    return [line] if steps else []


def check_batch(record: Record, batch: int) -> None:
    """Raise NetspecError for another batch size in the middle of an epoch, where it would skip or repeat images."""
    if record.position and batch != record.batch:
        raise NetspecError(
            f"train.batch: {record.batch} -> {batch}: the checkpoint lies in the middle of an epoch, where the batch "
            "cannot change; go on from a checkpoint at an epoch's end"
        )


def check_metric(record: Record, metrics: Sequence[Mapping[str, Any]]) -> None:
    """Raise NetspecError where another metric would decide than that by which the run's checkpoints were judged."""
    if record.evaluated is None:
        return
    was, becomes = (decisive(some, record.evaluated.errors) for some in (_recorded_metrics(record), metrics))
    if was != becomes:
        raise NetspecError(
            f"train.metrics: {was} -> {becomes}: the best checkpoint, and the schedule, have gone by {was} so far, and "
            f"go by it to the end; list {becomes} behind it, as in train.metrics=[{was}, {becomes}]"
        )


def _recorded_metrics(record: Record) -> Sequence[Mapping[str, Any]]:
    train = record.spec.get("train")
    return train.get("metrics") or () if isinstance(train, Mapping) else ()


def fingerprint(source: Dataset) -> dict[str, Any]:
    """What tells one set of images from another, wherever it lies: counts, labels or numbers, some of the names."""
    splits = {"train": source.train, "val": source.val}
    more = _numbers_print if not source.classes else lambda split: {}
    return {name: _split_print(split) | more(split) for name, split in splits.items() if split is not None}


def _split_print(split: Split) -> dict[str, int]:
    count = len(split)
    step = max(1, count // _NAMES_SAMPLED)
    names = "\n".join(split.name(i) for i in range(0, count, step))
    return {"images": count, "labels": zlib.crc32(split.labels.tobytes()), "names": zlib.crc32(names.encode())}


def _numbers_print(split: Split) -> dict[str, int]:
    """What tells one set of numbers from another: all of a table's, a sample of those in arrays."""
    if split.numbers is not None:
        return {"numbers": zlib.crc32(split.numbers.tobytes())}
    names = sorted(name for name, kind in (split.arrays or {}).items() if kind.dtype.startswith("float"))
    some = np.arange(0, len(split), max(1, len(split) // _NAMES_SAMPLED))
    return {"numbers": zlib.crc32(b"".join(split.values(name, some).tobytes() for name in names))}


def is_recorded(record: Record, name: str, split: Split) -> bool:
    """Whether a split is, as far as its fingerprint tells, the one that the run has had."""
    return name in record.data and not changes(record.data[name], _split_print(split))


def check_data(record: Record, found: Mapping[str, Any], source: Dataset) -> None:
    """Raise NetspecError where the images are not those that the run has been trained on."""
    wrong = _other_classes(record.classes, source) + shown(changes(record.data, found))
    if wrong:
        raise NetspecError(
            f"cannot resume the run: the images in {source.where} are not the run's:\n  " + "\n  ".join(wrong)
        )


def _other_classes(recorded: Sequence[str], source: Dataset) -> list[str]:
    """What differs between the run's classes and those that are found."""
    old = [class_name(name.encode("utf-8", "surrogatepass")) for name in recorded]
    if old == list(source.classes):
        return []
    gone = [name for name in old if name not in source.classes]
    new = [name for name in source.classes if name not in old]
    parts = [f"{len(old):,} -> {len(source.classes):,}" if gone or new else "in another order"]
    parts += [f"the run has {listed(gone)}"] * bool(gone) + [f"there are {listed(new)}"] * bool(new)
    nested = nested_hint(source.train, old) if gone else None
    return ["classes: " + "; ".join(parts), *([nested] if nested else [])]
