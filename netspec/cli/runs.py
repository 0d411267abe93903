"""``netspec runs``: what has been trained."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netspec.cli import _options as options
from netspec.cli._exit import warn
from netspec.cli._output import emit_json
from netspec.machine.names import nearer
from netspec.units import duration, error_name, error_value, size

if TYPE_CHECKING:
    from netspec.rundir.directory import RunSummary


@click.command()
@click.argument("name", required=False)
@click.option("--out", metavar="DIR", default="runs", show_default=True, help="The folder that holds the runs.")
@options.as_json
def command(name: str | None, out: str, as_json: bool) -> None:
    """List runs, newest first: status, how far they came, best validation errors, size on disk.

    A run is "killed" when its process ended without a word; --resume goes on from its last checkpoint.

    \b
    Examples:
      netspec runs
      netspec runs alexnet --out /data/runs
    """
    from netspec.rundir.directory import runs

    found = [run for run in runs(out) if name is None or run.name == name]
    warn(line for run in found for line in run.faults)
    if as_json:
        emit_json(found)
        return
    if not found:
        click.echo(f"no runs{f' of {name}' if name else ''} in {Path(out)}")
        return
    from netspec.report.tables import show, table

    columns = ["run", "status", "epoch", "iteration", "best errors", "started", "took", "size"]
    right, drop = ["epoch", "iteration", "took", "size"], ["size", "epoch", "took", "started", "iteration", "status"]
    show(table(columns, [_row(run) for run in found], right=right, fold=["best errors"], drop=drop))


def _row(run: RunSummary) -> tuple[str, ...]:
    best = ", ".join(f"{error_name(name)} {error_value(name, value)}" for name, value in run.best.items())
    started = datetime.fromtimestamp(run.started).strftime("%Y-%m-%d %H:%M")
    done = f"{run.iteration:,}/{run.total_iterations:,}"
    numbers = started, duration(run.seconds), size(run.nbytes)
    return nearer(run.folder), run.status, str(run.epoch), done, best, *numbers
