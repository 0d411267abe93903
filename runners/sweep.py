"""A list of runs, one after the other: those that are done are recognised, those that were stopped are resumed.

What has been done is read from the run directories alone, so a sweep has no file of its own: the same command goes on
with it, and one of more seeds or specs adds to it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from netspec._types import Trial
from netspec.errors import NetspecError, Problem, SpecError
from netspec.events import Listener, Note
from netspec.machine.ranks import refuse_several
from netspec.planning import check
from netspec.registry import load_plugin
from netspec.rundir.differences import differences
from netspec.rundir.directory import CHECKPOINTS, START, run_folders, summarise
from netspec.rundir.metrics import read_metrics
from netspec.rundir.tags import tag
from netspec.runners.recorded_plugins import used_by
from netspec.runners.training import checkpoint
from netspec.runners.training.checkpoint import Record
from netspec.runners.training.follow_data import as_recorded
from netspec.runners.training.init_from import check_start
from netspec.runners.training.launch import launch
from netspec.runners.training.request import Request, load_spec, with_data, with_start
from netspec.runners.training.saver import listed
from netspec.spec import canonical, from_canonical
from netspec.spec.types import Spec

_FREE = ("data.workers",)
"""What may differ between a run and the same run of a sweep: it changes no number."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A run of a sweep: what is asked for, and the spec that comes of it."""

    trial: Trial
    request: Request
    spec: Spec


def plan_sweep(
    specs: Sequence[Spec | str | Path], request: Request, seeds: Sequence[int], vary: Mapping[str, Sequence[str]]
) -> list[Planned]:
    """All runs: for each spec each choice of values (texts of ``--set`` by path), for each of these each seed.

    Without seeds each has that of its spec. ``request`` has what is common to them. Raises SpecError with all that is
    wrong in any of them, before anything is trained.
    """
    refuse_several("a sweep")
    for plugin in request.binding.plugins:
        load_plugin(plugin)
    problems: list[Problem] = []
    found: list[Planned] = []
    for spec, values in itertools.product(specs, _choices(vary)):
        try:
            found += _planned(spec, request, seeds, values)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(list(dict.fromkeys(problems)))
    _refuse_twins(found)
    return found


def _choices(vary: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    return [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]


def _planned(
    spec: Spec | str | Path, request: Request, seeds: Sequence[int], values: Mapping[str, str]
) -> Iterator[Planned]:
    for number, seed in enumerate(seeds or (None,)):
        own = [f"{path}={value}" for path, value in values.items()]
        sets = (*request.sets, *own, *([] if seed is None else [f"train.seed={seed}"]))
        settled = with_start(with_data(load_spec(spec, sets), request.data), request.init_from)
        if number == 0:  # another seed changes nothing that is checked
            check(settled)
            check_start(settled)
        trial = Trial(settled.name, dict(values), settled.train.seed)
        yield Planned(trial, replace(request, spec=spec, sets=sets), settled)


def _refuse_twins(planned: Sequence[Planned]) -> None:
    seen: set[tuple[Any, ...]] = set()
    for one in planned:
        key = (one.trial.name, *one.trial.values.items(), one.trial.seed)
        if key in seen:
            raise NetspecError(f"two runs of the sweep are called {one.trial.label}; give each spec a name of its own")
        seen.add(key)


def train(planned: Planned, listener: Listener | None = None) -> Trial:
    """The trial, trained, unless a run directory holds it already; one that was stopped goes on where it was.

    A run that fails is told in ``message``; what comes after it can go on.
    """
    folder, done = _find(planned)
    if folder is not None and done:
        if planned.request.tags or planned.request.note is not None:
            tag(folder, planned.request.tags, note=planned.request.note)
        return _measured(planned.trial, folder)
    request = planned.request if folder is None else replace(planned.request, spec=None, sets=(), resume=str(folder))
    heard = _Folder(listener)
    try:
        result = launch(replace(request, init_from=None) if folder else request, heard)
    except NetspecError as error:
        if listener is not None:
            listener(Note(f"{planned.trial.label} failed: {error}"))
        return replace(planned.trial, status="failed", folder=heard.folder or folder, message=str(error))
    return replace(_measured(planned.trial, result.folder), status=result.status, exit_code=result.exit_code)


class _Folder:
    """Hears which directory a run is in, for those that fail later."""

    def __init__(self, listener: Listener | None) -> None:
        self.folder: Path | None = None
        self.listener = listener

    def __call__(self, event: Any) -> None:
        folder = getattr(event, "folder", "")
        self.folder = Path(folder) if folder else self.folder
        if self.listener is not None:
            self.listener(event)


def _find(planned: Planned) -> tuple[Path | None, bool]:
    """The run directory that holds the trial, and whether it is finished; else the newest that can be resumed."""
    plugins = used_by(planned.spec)
    found: Path | None = None
    for folder in run_folders(planned.request.out, planned.spec.name):
        record = _record(folder)
        if record is None or record.plugins != plugins or not _is_same(record, planned):
            continue
        if summarise(folder, read_metrics(folder)).status == "finished":
            return folder, True
        found = found or folder
    return found, False


def _record(folder: Path) -> Record | None:
    """What a run was when it was last saved, else when it began; None where nobody can tell."""
    path = next(iter(listed(folder / CHECKPOINTS)), folder / START)
    with suppress(NetspecError, OSError):
        return _read(path, path.stat().st_mtime_ns)
    return None


@functools.lru_cache(1024)
def _read(path: Path, written: int) -> Record:
    return checkpoint.record_from(path) if path.name == START else checkpoint.read_record(path)


def _is_same(record: Record, planned: Planned) -> bool:
    """Whether the recorded spec is the one that is asked for; keys that the record lacks have their defaults."""
    with suppress(SpecError):
        recorded, own = canonical(from_canonical(record.spec)), planned.request.data is not None
        wanted = canonical(as_recorded(planned.spec, own, recorded, len(record.classes)))
        return not differences(recorded, wanted).keys() - set(_FREE)
    return False


def _measured(trial: Trial, folder: Path) -> Trial:
    """The trial with what its run directory says of its end."""
    metrics = read_metrics(folder)
    summary = summarise(folder, metrics)
    finish = metrics.finishes[-1] if metrics.finishes else {}
    last = metrics.evaluations[-1] if metrics.evaluations else {}
    errors = {name: value for name, value in (finish.get("errors") or {}).items() if value is not None}
    return replace(
        trial,
        status="finished" if summary.status == "finished" else "interrupted",
        folder=folder,
        errors=errors,
        loss=last.get("loss"),
        measured="validation" if last else "training",
        iteration=summary.iteration,
        seconds=summary.seconds,
        metrics=summary.metrics,
    )
