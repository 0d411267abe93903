"""``netspec report``: runs as one HTML page."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from netspec.cli import _options as options
from netspec.cli._runs import all_runs
from netspec.cli._specs import load_plugins
from netspec.machine.atomic_files import told
from netspec.machine.names import nearer
from netspec.units import size


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="FILE", default="report.html", show_default=True, help="Where it goes.")
@options.data
@options.devices
@options.plugins
@options.trust
def command(
    runs: tuple[str, ...], output: str, data: str | None, devices: str | None, plugins: tuple[str, ...]
) -> None:
    """Write one self-contained HTML page on runs: no network, no scripts, nothing beside it.

    It has results, curves, the paper's figures, confusion, the timeline and the memory of an iteration, spec and
    environment. Pictures are those of netspec figure, which matplotlib draws; what cannot be made, such as predictions
    where the images are gone, is a line that says why. A folder of runs stands for all of them.

    \b
    Examples:
      netspec report runs/quickstart/2026-01-31_12-00-00
      netspec report runs/alexnet/* --data imagenet/ -o alexnet.html
    """
    from netspec.figures._style import check_installed
    from netspec.page.run_page import run_page
    from netspec.report.progress import shown

    check_installed()
    load_plugins(plugins)
    heard: set[str] = set()

    def tell(line: str) -> None:
        if line not in heard:  # the figures have most of their notes in common
            heard.add(line)
            click.echo(f"note: {line}", file=sys.stderr)  # as it is now: progress shows beneath

    given = {name: value for name, value in (("data", data), ("devices", devices)) if value}
    with shown("writing the report"):
        page = run_page([Path(run) for run in all_runs(runs)], tell, **given)
    written = page.encode()
    with told(output):
        Path(output).write_bytes(written)
    click.echo(f"wrote {nearer(output)}, {size(len(written))}")
