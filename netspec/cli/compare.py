"""``netspec compare``: two runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netspec.cli import _options as options
from netspec.cli._exit import warn
from netspec.cli._output import emit_json
from netspec.cli._runs import newest_run, two_newest
from netspec.machine.names import nearer

if TYPE_CHECKING:
    from netspec.report.comparison import Comparison, Difference

_NAMES = ("A", "B")


@click.command()
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="[RUN]", required=False)
@options.as_json
def command(first: str, second: str | None, as_json: bool) -> None:
    """How two runs differ: values of their specs, machine and versions, results, errors epoch by epoch.

    A folder of runs stands for the newest of them; alone, for the two newest. netspec curves RUN RUN draws both.

    \b
    Examples:
      netspec compare runs/alexnet/2026-01-30_12-00-00 \\
          runs/alexnet/2026-01-31_12-00-00
      netspec compare runs/alexnet
      netspec compare runs/alexnet runs/alexnet-no-lrn
    """
    from netspec.report.comparison import compare

    first, second = two_newest(first) if second is None else (newest_run(first), newest_run(second))
    made = compare(Path(first), Path(second))
    warn(made.faults)
    if as_json:
        emit_json(made)
        return
    click.echo(f"A  {nearer(first)}\nB  {nearer(second)}")
    for title in ("spec", "environment", "results"):
        _show(title, getattr(made, title), made)
    _show("validation", made.evaluations, made)


def _show(title: str, differences: Sequence[Difference], made: Comparison) -> None:
    from netspec.report.comparison import as_text
    from netspec.report.tables import show, table

    if not differences:
        click.echo(f"\n{title}: the same" if title in ("spec", "environment") else f"\n{title}: none")
        return
    rows = [(one.path, *(as_text(one.path, x, made.metrics) for x in (one.first, one.second))) for one in differences]
    show(table([title, *_NAMES], rows, fold=_NAMES))
