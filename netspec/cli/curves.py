"""``netspec curves``: loss and error of runs, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netspec.cli import _options as options
from netspec.cli._exit import warn
from netspec.cli._output import emit_json
from netspec.report.units import nearer

if TYPE_CHECKING:
    from netspec.report.curves import Panel

_ENDINGS = (".svg", ".png")


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="FILE", help="curves.svg or curves.png instead of the terminal.")
@options.as_json
def command(runs: tuple[str, ...], output: str | None, as_json: bool) -> None:
    """Draw loss and top-1 error over epochs, in the terminal or into a file; several runs into one picture.

    Training curves are means over neighbouring iterations.

    \b
    Examples:
      netspec curves runs/alexnet/2026-01-31_12-00-00
      netspec curves runs/cifar10-quick/* -o curves.svg
    """
    if output is not None and Path(output).suffix.lower() not in _ENDINGS:
        raise click.UsageError(f"{output}: the name must end with {' or '.join(_ENDINGS)}")
    from netspec.report.curves import panels

    made, faults = panels([Path(run) for run in runs])
    warn(faults)
    if output is not None:
        from netspec.report.canvas import write_chart

        write_chart(made, Path(output))
        click.echo(f"wrote {nearer(output)}", err=as_json)
    if as_json:
        emit_json(made)
    elif output is None:
        _show(made)


def _show(panels: Sequence[Panel]) -> None:
    from rich.text import Text

    from netspec.report.braille import Cell, legend, plot
    from netspec.report.tables import console

    out = console()
    width = min(out.width, 100)
    blank: list[Cell] = [("", None)]
    for line in [*(line for panel in panels for line in (*plot(panel, width), blank)), *legend(panels)]:
        text = Text.assemble(*((characters, shade or "") for characters, shade in line))
        text.rstrip()
        out.print(text)
