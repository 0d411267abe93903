"""``netspec runs``: what has been trained."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from netspec.cli import _options as options
from netspec.cli._exit import warn
from netspec.cli._output import emit_json
from netspec.cli._runs import OUT
from netspec.errors import printable
from netspec.machine.names import nearer
from netspec.units import duration, error_name, error_value, size

if TYPE_CHECKING:
    from netspec.rundir.directory import RunSummary

_LONGEST = 40
"""Characters of a changed value."""


@click.command()
@click.argument("where", metavar="[NAME|DIR]", required=False)
@click.option("--out", metavar="DIR", default=OUT, show_default=True, help="The folder that holds the runs.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Only those that have this tag; may be repeated.")
@options.as_json
def command(where: str | None, out: str, tags: tuple[str, ...], as_json: bool) -> None:
    """List runs, newest first: status, best validation errors, what tells them apart, how far they came, size on disk.

    NAME is that of a network; DIR is a run, or a folder with runs at any place in its first two levels. What tells runs
    apart are the values that the command line changed of the spec, the seed where runs of a network have several, tags
    and notes: see netspec tag. A run is "killed" when its process ended without a word; netspec run --resume goes on
    from its last checkpoint.

    \b
    Examples:
      netspec runs
      netspec runs alexnet --out /data/runs
      netspec runs /data/runs/alexnet --tag paper
    """
    from netspec.rundir.directory import described

    folders = _folders(where, out)
    found = [run for run in map(described, folders) if set(tags) <= set(run.tags)]
    warn(line for run in found for line in run.faults)
    if as_json:
        emit_json(found)
    elif not found:
        click.echo(_nothing(where, out, tags if folders else ()))
    else:
        _show(found)


def _folders(where: str | None, out: str) -> list[Path]:
    from netspec.rundir.directory import run_folders, runs_at

    if where is None:
        return runs_at(out)
    named = run_folders(out, where) if Path(where).name == where != ".." else []
    return named or runs_at(where)


def _nothing(where: str | None, out: str, tags: Sequence[str]) -> str:
    """That there are none, and what there is instead."""
    from netspec.rundir.directory import run_folders
    from netspec.spec.wording import did_you_mean

    tagged = f" tagged {', '.join(map(printable, tags))}" if tags else ""
    if tags or where is None:
        return f"no runs{tagged} in {printable(where or out)}"
    if Path(where).is_dir():
        return f"no runs in {printable(where)}"
    names = sorted({folder.parent.name for folder in run_folders(out)})
    guess = did_you_mean(where, names) or (f"there are runs of {', '.join(names[:8])}" if names else None)
    return f"no runs of {printable(where)} in {printable(out)}{f' ({guess})' if guess else ''}"


def _show(found: Sequence[RunSummary]) -> None:
    from netspec.report.tables import show, table

    several = _several_seeds(found)
    errors = list(dict.fromkeys(name for run in found for name in run.best))
    measures = {name: one for run in found for name, one in run.metrics.items()}
    heads = {name: error_name(name, measures) for name in errors}
    columns: dict[str, list[str]] = {
        "run": [nearer(run.folder) for run in found],
        "status": [run.status for run in found],
        **{head: [_error(run, name) for run in found] for name, head in heads.items()},
        "differs by": [", ".join(_differs(run, run.name in several)) for run in found],
        "tags": [", ".join(run.tags) for run in found],
        "note": [printable(run.note) for run in found],
        "epoch": [str(run.epoch) for run in found],
        "iteration": [f"{run.iteration:,}/{run.total_iterations:,}" for run in found],
        "started": [datetime.fromtimestamp(run.started).strftime("%Y-%m-%d %H:%M") for run in found],
        "took": [duration(run.seconds) for run in found],
        "size": [size(run.nbytes) for run in found],
    }
    kept = {name: cells for name, cells in columns.items() if any(cells)}
    right = [*heads.values(), "epoch", "iteration", "took", "size"]
    drop = ["size", "epoch", "took", "started", "iteration", "note", *[*heads.values()][:0:-1], "tags", "status"]
    show(
        table(
            list(kept),
            zip(*kept.values(), strict=True),
            right=right,
            fold=["differs by", "tags", "note"],
            drop=[name for name in drop if name in kept],
            title=f"runs, with their best validation {'error' if len(errors) == 1 else 'errors'}" if errors else None,
        )
    )


def _error(run: RunSummary, name: str) -> str:
    return error_value(name, run.best[name], declared=run.metrics) if name in run.best else ""


def _several_seeds(found: Iterable[RunSummary]) -> set[str]:
    """The networks whose runs have several seeds."""
    seeds = defaultdict(set)
    for run in found:
        seeds[run.name].add(run.seed)
    return {name for name, some in seeds.items() if len(some) > 1}


def _differs(run: RunSummary, with_seed: bool) -> list[str]:
    """What a run was asked for beside its spec."""
    seed = [f"seed {run.seed}"] if with_seed and run.seed is not None else []
    images = [path for path in run.changed if path.startswith("data.source.")]
    where = run.changed.get("data.source.path") or run.changed.get("data.source.train")
    data = [f"data {printable(Path(str(where)).name)}"] if where else ["data"] if images else []
    chosen = _chosen(run.changed).items()
    others = [f"{_short(path)} {_value(value)}" for path, value in chosen if path not in images]
    return [*seed, *others, *data]


def _chosen(changed: Mapping[str, Any]) -> dict[str, Any]:
    """The values without what another solver or schedule brings along: its defaults, and keys that it does not have."""
    from netspec.schedules import schedule_types
    from netspec.solvers import solver_types

    left = dict(changed)
    for section, types in (("train.solver", solver_types()), ("train.schedule", schedule_types())):
        cls = types.get(str(changed.get(f"{section}.type")))
        if cls is None:
            continue
        defaults = {f"{section}.{name}": schema.get("default") for name, schema in cls.attrs.items()}
        brought = [path for path in left if path.startswith(f"{section}.") and left[path] == defaults.get(path)]
        for path in brought:
            del left[path]
    return left


def _short(path: str) -> str:
    """A path without the section that it is in."""
    path = path.removesuffix(".type")  # train.solver.type is what the solver is
    for section in ("train.solver.", "train.sgd.", "train.", "layers.", "data."):
        path = path.removeprefix(section)
    return printable(path)


def _value(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(one, Mapping) and one.keys() == {"type"} for one in value):
        value = ", ".join(str(one["type"]) for one in value)
    text = printable(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
