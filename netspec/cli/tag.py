"""``netspec tag``: tags and a note for a run."""

from __future__ import annotations

from pathlib import Path

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._runs import newest_run
from netspec.errors import NoSuchFile
from netspec.machine.names import nearer


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("add", metavar="[TAG...]", nargs=-1)
@click.option("--remove", metavar="TAG", multiple=True, help="A tag to take away; may be repeated.")
@click.option("--note", metavar="TEXT", help="One line on the run, in place of its note; '' takes it away.")
@options.as_json
def command(run: str, add: tuple[str, ...], remove: tuple[str, ...], note: str | None, as_json: bool) -> None:
    """Give a run tags and a note, which netspec runs shows; without either, print those that it has.

    They lie in the run's folder, in tags.json, and change nothing else: a run may be tagged while it trains. RUN may be
    a folder of runs, which stands for the newest. netspec run --tag and --note give them from the beginning.

    \b
    Examples:
      netspec tag runs/alexnet/2026-01-31_12-00-00 paper --note "see table 2"
      netspec tag runs/alexnet/2026-01-31_12-00-00 --remove paper
      netspec runs --tag paper
    """
    from netspec.rundir.directory import runs_at
    from netspec.rundir.tags import tag

    folder = Path(newest_run(run))
    if not runs_at(folder):
        raise NoSuchFile(f"{run}: no such run (netspec runs lists them)")
    found = tag(folder, add, remove, note)
    if as_json:
        emit_json({"run": str(folder), "tags": found.tags, "note": found.note})
        return
    click.echo(f"{nearer(folder)}: {', '.join(found.tags) or 'no tags'}{f'; {found.note}' if found.note else ''}")
