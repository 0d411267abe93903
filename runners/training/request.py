"""What a run is asked to do, and the spec that comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from netspec._types import Binding
from netspec.errors import NetspecError, SpecError
from netspec.runners.training import resume
from netspec.runners.training.resume import Origin
from netspec.spec import canonical, from_canonical, load, loads, resolved
from netspec.spec.types import Spec

RUN_FILE = "the run's spec"
"""What messages call the recorded spec of a run that is resumed."""


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments of ``netspec.api.run``."""

    spec: Spec | str | Path | None
    data: str | Path | None
    sets: Sequence[str]
    binding: Binding
    out: Path
    resume: str | None
    trace: Path | None
    workers: int | None
    tensorboard: bool
    checkpoint_every: float


@dataclass(frozen=True, slots=True)
class Settled:
    """The spec to train, the one given without the command line's changes, and what differs from a resumed run."""

    spec: Spec
    given: Mapping[str, Any]
    text: str
    changes: Sequence[str] = ()


def settle(request: Request, origin: Origin | None) -> Settled:
    """The spec of a new run, or of a resumed one with its changes.

    Raises SpecError for what is wrong in it, NetspecError where a resumed run's network, data or seed would change.
    """
    if origin is None:
        return _fresh(request)
    record = origin.record
    run, _ = (from_canonical(recorded, str(origin.path)) for recorded in (record.spec, record.given))
    given = record.given if request.spec is None else _given(request.spec, request.sets)
    sets = [*resume.edited(record, given), *request.sets]
    spec = with_data(loads(resolved(run), RUN_FILE, sets) if sets else run, request.data)
    changes = resume.differences(record.spec, canonical(spec))
    resume.refuse(changes, "what is asked differs from the run")
    resume.check_batch(record, spec.train.batch)
    return Settled(spec, given, _text(request.spec, run), resume.shown(changes))


def _fresh(request: Request) -> Settled:
    if request.spec is None:
        raise NetspecError("name a spec to train, or a run directory to go on with (--resume DIR)")
    spec = with_data(load_spec(request.spec, request.sets), request.data)
    return Settled(spec, _given(request.spec, request.sets), _text(request.spec, spec))


def load_spec(spec: Spec | str | Path, sets: Sequence[str] = ()) -> Spec:
    """The spec of a file, of a shipped name or as it is, with changes laid over it."""
    if not isinstance(spec, Spec):
        return load(spec, sets)
    return loads(resolved(spec), spec.name, sets) if sets else spec


def _given(spec: Spec | str | Path, sets: Sequence[str]) -> Mapping[str, Any]:
    """The spec without changes, in canonical form; with them where it does not hold without."""
    try:
        return canonical(load_spec(spec))
    except SpecError:
        return canonical(load_spec(spec, sets))


def _text(given: Spec | str | Path | None, spec: Spec) -> str:
    """The spec as it was written."""
    if given is None or isinstance(given, Spec):
        return resolved(spec)
    from netspec.spec import files

    return files.read(files.find(str(given)))


def with_data(spec: Spec, data: str | Path | None, evaluated: bool = False) -> Spec:
    """The spec with ``--data``: a folder or an archive in place of its source, of images to train on or to evaluate."""
    if data is None:
        return spec
    from netspec.data.layout import source_from_path
    from netspec.data.sources import source_types
    from netspec.spec.fields import complete

    return replace(spec, data=replace(spec.data, source=complete(source_from_path(data, evaluated), source_types())))
