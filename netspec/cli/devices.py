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
    (cuda:0,cuda:0): both halves of the network then lie on one card. "bf16" says what train.precision bf16 comes to:
    activations are stored in it, or it is used in products alone, or the device computes in float32.
    """
    from netspec.device.binding import available
    from netspec.device.gpus import obstacle
    from netspec.units import size

    found = available()
    if as_json:
        emit_json(found)
        return
    from netspec.report.tables import show, table

    rows = [(one.name, one.description, size(one.memory or 0), one.bf16) for one in found]
    columns = ["device", "what it is", "memory", "bf16"]
    show(table(columns, rows, right=["memory"], fold=["what it is"], drop=["bf16"]))
    if (line := obstacle()) is not None:
        click.echo(line)
