"""What figures are made of: a run's checkpoint, or its spec, or a spec that nobody has trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from netspec.report.run_labels import Tell

if TYPE_CHECKING:
    from netspec.runners.training.checkpoint import Checkpoint, Record
    from netspec.spec.types import Spec


def trained_at(path: Path, tell: Tell) -> tuple[Checkpoint, Spec]:
    """A run's best whole checkpoint, or a checkpoint file, with its spec. Raises NetspecError where there is none."""
    from netspec.runners.inference import find_checkpoint

    found, damaged = find_checkpoint(path)
    for error in damaged:
        tell(f"{error}; passed over")
    return found, _spec_of(found.record, path, tell)


def spec_at(path: Path, tell: Tell) -> Spec:
    """The spec of a run's folder, or of a file or a shipped name. Raises NetspecError, SpecError."""
    from netspec.rundir.directory import START
    from netspec.runners.training.checkpoint import record_from
    from netspec.spec import load

    return _spec_of(record_from(path / START), path, tell) if path.is_dir() else load(str(path))


def _spec_of(record: Record, path: Path, tell: Tell) -> Spec:
    from netspec.runners.recorded_plugins import load_again
    from netspec.spec import from_canonical

    loaded = load_again(record.plugins, (), path if path.is_dir() else None)
    for line in (*loaded.notes, *(f"changed: {change}" for change in loaded.changes)):
        tell(line)
    return from_canonical(record.spec, str(path))
