"""The spec that a run or a checkpoint has: they can be looked at as the networks that they are of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from netspec.events import Listener, Note
from netspec.rundir.directory import RESOLVED, START, changed_later
from netspec.rundir.run_files import read_text
from netspec.runners.recorded_plugins import load_again, run_of
from netspec.runners.training.checkpoint import SUFFIX, named, read_record, record_from
from netspec.spec import from_canonical, loads, resolved
from netspec.spec.types import Spec


def is_recorded(path: Path) -> bool:
    """Whether it is a run's directory or a checkpoint file, and no spec file or shipped name."""
    return any((path / name).is_file() for name in (RESOLVED, START)) or (
        path.suffix.lower() == SUFFIX and path.is_file()
    )


def recorded_spec(
    path: Path, emit: Listener, overrides: Sequence[str] = (), plugins: Sequence[str | Path] = ()
) -> Spec:
    """The resolved spec of a run, with what resumptions changed, or of a checkpoint; ``overrides`` are laid over it.

    Plugins that the run was made with are loaded again, as ``load_again`` says; ``emit`` hears of them. Raises
    NetspecError, SpecError.
    """
    run = path if path.is_dir() else None
    record = read_record(named(path)) if run is None else record_from(run / START)
    for change in load_again(record.plugins, plugins, lambda line: emit(Note(line)), run_of(path)):
        emit(Note(f"changed: {change}"))
    if run is None:
        spec = from_canonical(record.spec, str(path))
        return loads(resolved(spec), str(path), overrides) if overrides else spec
    later = [f"{where}={json.dumps(value)}" for where, value in changed_later(run).items()]
    return loads(read_text(run / RESOLVED), str(run / RESOLVED), [*later, *overrides])
