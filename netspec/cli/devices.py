"""``netspec devices``: what --devices can name."""

from __future__ import annotations

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json


@click.command()
@options.as_json
def command(as_json: bool) -> None:
    """The devices of this machine, as --devices names them.

    A CPU may be named as often as a spec has devices (cpu:0,cpu:1): each gets its share of the cores. A GPU too
    (cuda:0,cuda:0): both halves of the network then lie on one card.
    """
    from netspec.device.binding import available
    from netspec.device.gpus import obstacle
    from netspec.units import size

    found = available()
    if as_json:
        emit_json(found)
        return
    from netspec.report.tables import show, table

    rows = [(one.name, one.description, size(one.memory or 0)) for one in found]
    show(table(["device", "what it is", "memory"], rows, right=["memory"], fold=["what it is"]))
    if (line := obstacle()) is not None:
        click.echo(line)
