"""``netspec curves``: loss, errors and learning rate of runs, as a table or drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netspec.cli import _options as options
from netspec.cli._exit import warn
from netspec.cli._output import emit_json
from netspec.cli._runs import all_runs
from netspec.units import error_name, error_value, significant

if TYPE_CHECKING:
    from netspec.measures import Measures
    from netspec.report.tables import Table

_ENDINGS = (".svg", ".png", ".pdf")


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="FILE", help="Draw them into FILE.svg, .png or .pdf: netspec figure curves.")
@click.option("--rows", metavar="N", type=click.IntRange(min=1), default=20, show_default=True, help="Rows at most.")
@options.as_json
def command(runs: tuple[str, ...], output: str | None, rows: int, as_json: bool) -> None:
    """Loss, errors and learning rate over epochs, as a table; with -o drawn, several runs in one picture.

    Training is the mean of the iterations since the row above. A folder of runs stands for all of them, in the order in
    which they began.

    \b
    Examples:
      netspec curves runs/alexnet/2026-01-31_12-00-00
      netspec curves runs/cifar10-quick -o curves.svg
    """
    if output is not None:
        if Path(output).suffix.lower() not in _ENDINGS:
            raise click.UsageError(f"{output}: the name must end with .svg, .png or .pdf")
        from netspec.cli.figure import draw

        draw("curves", all_runs(runs), output, as_json)
        return
    folders = [Path(run) for run in all_runs(runs)]
    if as_json:
        from netspec.report.curves import panels

        made, faults = panels(folders)
        warn(faults)
        emit_json(made)
        return
    from netspec.report.run_labels import run_labels
    from netspec.report.tables import show

    shown = [_table(folder, label, rows) for folder, label in zip(folders, run_labels(folders), strict=True)]
    warn(line for _, faults in shown for line in faults)
    show(*(made for made, _ in shown))


def _table(folder: Path, label: str, most: int) -> tuple[Table, Sequence[str]]:
    """A row for each evaluation, or of as many evenly spaced ones as are wanted, and what could not be read."""
    from netspec.report.curves import metrics_of, stages
    from netspec.report.tables import table

    metrics = metrics_of(folder)
    names, found = stages(metrics, most)
    errors = [name for name in names if name not in ("loss", "learning_rate")]
    measures = metrics.measures
    heads = [error_name(name, measures) for name in errors]
    columns = ["epoch", "loss", *heads, "val loss", *(f"val {head}" for head in heads), "rate"]
    rows = []
    for stage in found:
        cells = [significant(stage.epoch)]
        for values in (stage.training, stage.validation):
            cells += [_number(values.get("loss")), *(_error(name, values.get(name), measures) for name in errors)]
        rows.append([*cells, _number(stage.training.get("learning_rate"))])
    drop = [f"val {heads[-1]}", heads[-1]] if len(errors) > 1 else []
    return table(columns, rows, right=columns, drop=[*drop, "rate"], title=label), metrics.faults


def _number(value: float | None) -> str:
    return "" if value is None else significant(value)


def _error(name: str, value: float | None, declared: Measures) -> str:
    return "" if value is None else error_value(name, value, declared=declared)
