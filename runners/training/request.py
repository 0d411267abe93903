"""What a run is asked to do, and the spec that comes of it: a new run's, or a resumed run's with its changes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from netspec._types import Binding
from netspec.data.known_sources import source_types
from netspec.data.layout import source_from_path, table_at
from netspec.errors import Mark, NetspecError, SpecError
from netspec.rundir.differences import differences
from netspec.runners.training import resume
from netspec.runners.training.checkpoint import Record
from netspec.runners.training.resume import Origin
from netspec.spec import canonical, files, from_canonical, load, loading, loads, resolved
from netspec.spec.class_counts import settled
from netspec.spec.fields import complete
from netspec.spec.types import InitSpec, Spec

CHECKPOINT_EVERY_S = 600.0
"""Seconds between checkpoints inside an epoch; each epoch's end has one besides."""


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments of ``netspec.api.run``."""

    spec: Spec | str | Path | None
    data: str | Path | None
    sets: Sequence[str]
    binding: Binding
    out: Path = Path("runs")
    resume: str | None = None
    trace: Path | None = None
    workers: int | None = None
    log: Sequence[str | Mapping[str, object]] = ()
    checkpoint_every: float = CHECKPOINT_EVERY_S
    init_from: str | Path | None = None
    tags: Sequence[str] = ()
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """The spec to train, what is recorded of it, and what differs from a resumed run.

    ``given`` is the spec without the command line's changes, in canonical form; ``text`` as it was written. ``changed``
    has the values of the spec that differ from the resumed run's, by path, ``changes`` these and others for people.
    """

    spec: Spec
    given: Mapping[str, Any]
    text: str
    changes: Sequence[str] = ()
    changed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_cut_short(self) -> bool:
        """Whether the command line ends the run after other iterations than the spec does."""
        own: int | None = self.given["train"]["iterations"]
        return self.spec.train.iterations != own


def settle(request: Request, origin: Origin | None, changes: Sequence[str] = ()) -> Settled:
    """The spec of a new run, or of a resumed one with its changes; ``changes`` are others than the spec's.

    Raises SpecError for what is wrong in it, NetspecError where a resumed run's network, data or seed would change.
    """
    if origin is None:
        return _fresh(request)
    run, own = (from_canonical(each, str(origin.path)) for each in (origin.record.spec, origin.record.given))
    record = replace(origin.record, spec=canonical(run), given=canonical(own))  # keys that it lacks have their defaults
    given = record.given if request.spec is None else _given(request.spec, request.sets)
    sets = [*resume.edited(record, given), *request.sets]
    sets = [*_lifted_limit(record, given, sets), *sets]
    recorded = loads(resolved(run), f"the spec in {origin.path}", sets)
    spec = with_start(with_data(recorded, request.data), request.init_from)
    new = canonical(spec)
    changed = differences(record.spec, new)
    resume.refuse(changed, "what is asked differs from the run")
    resume.check_batch(record, spec.train.batch)
    resume.check_metric(record, spec.train.metrics)
    told = (*changes, *resume.shown(changed))
    return Settled(spec, given, _text(request.spec, run), told, resume.values(changed, new))


def _lifted_limit(record: Record, given: Mapping[str, Any], sets: Sequence[str]) -> list[str]:
    """The change that lets a run go on which has done all its ``--iterations``, where no others are asked for."""
    limit, own = record.spec["train"]["iterations"], given["train"]["iterations"]
    named = set(map(_path_of, sets))
    if limit is None or limit == own or record.iteration < limit or named & {"train", "train.iterations"}:
        return []
    return [f"train.iterations={json.dumps(own)}"]


def _fresh(request: Request) -> Settled:
    if request.spec is None:
        raise NetspecError("name a spec to train, or a run directory to resume (--resume DIR)")
    spec = with_start(with_data(load_spec(request.spec, request.sets), request.data), request.init_from)
    return Settled(spec, _given(request.spec, request.sets), _text(request.spec, spec))


def load_spec(spec: Spec | str | Path, sets: Sequence[str] = ()) -> Spec:
    """The spec of a file, of a shipped name or as it is, with changes laid over it."""
    if not isinstance(spec, Spec):
        return load(spec, sets)
    return loads(resolved(spec), spec.name, sets) if sets else spec


def name_of(spec: Spec | str | Path, sets: Sequence[str] = ()) -> str:
    """The network's name, before the plugins of its layers are known."""
    return load_spec(spec, sets).name if isinstance(spec, Spec) else loading.name_of(spec, sets)


def _given(spec: Spec | str | Path, sets: Sequence[str]) -> Mapping[str, Any]:
    """The spec without changes, in canonical form; with them where it does not hold without.

    Its layers have as many classes as it states by itself, whatever images it is run on.
    """
    try:
        return canonical(settled(load_spec(spec)))
    except SpecError:
        others = [text for text in sets if _path_of(text) != "train.iterations"]
        return canonical(settled(load_spec(spec, others)))


def _path_of(assignment: str) -> str:
    return assignment.partition("=")[0].strip()


def _text(given: Spec | str | Path | None, spec: Spec) -> str:
    return resolved(spec) if given is None or isinstance(given, Spec) else files.read(files.find(str(given)))


def with_data(spec: Spec, data: str | Path | None, evaluated: bool = False) -> Spec:
    """The spec with ``--data``: a folder or an archive in place of its source, of images to train on or to evaluate."""
    if data is None:
        return spec
    numbers = source_types()[spec.data.source["type"]].numbers is not None
    found = (table_at(data) if numbers else None) or source_from_path(data, evaluated)
    split = None if evaluated else spec.data.split
    return replace(spec, data=replace(spec.data, source=complete(found, source_types()), split=split))


def with_start(spec: Spec, path: str | Path | None) -> Spec:
    """The spec with ``--init-from``: the run or checkpoint that it starts from, in place of the one that it names."""
    if path is None:
        return spec
    layers = spec.train.init_from.layers if spec.train.init_from else {}
    start = InitSpec(str(Path(path).expanduser().absolute()), layers)
    mark = Mark(option := "--init-from", 1, len(option) + 2, f"{option} {path}", len(str(path)))
    marks = {**spec.marks, "train.init_from": mark, "train.init_from.path": mark}
    return replace(spec, train=replace(spec.train, init_from=start), marks=marks)
