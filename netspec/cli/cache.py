"""``netspec cache``: where compiled kernels are kept, and how to be rid of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.errors import printable
from netspec.units import many, size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from netspec.kernels.cache_contents import Kept


@click.command()
@click.argument("action", metavar="[clear]", type=click.Choice(["clear"]), required=False)
@click.option("--yes", is_flag=True, help="Clear without a question.")
@options.as_json
def command(action: str | None, yes: bool, as_json: bool) -> None:
    """Show what netspec keeps outside of runs: where, how large, of what; 'clear' empties it after a question.

    NETSPEC_CACHE_DIR names another folder. Clearing costs a compilation when a kernel is next needed, and nothing else:
    what 'netspec tune' has measured stays, and files there that are not netspec's are left alone.

    \b
    Examples:
      netspec cache
      netspec cache clear --yes
    """
    from netspec.kernels.cache import cache_root
    from netspec.kernels.cache_contents import TUNED, clear, contents

    found, folder = contents(), cache_root()
    if action is None:
        _show(folder, found, as_json)
        return
    unwanted = [one for one in found if one.kind != TUNED]
    if unwanted and not yes:
        _ask(folder, unwanted, as_json)
    gone = clear()
    if as_json:
        emit_json({"folder": folder, "removed": [one._asdict() for one in gone]})
        return
    click.echo(f"removed {_total(gone)} from {printable(folder)}" if gone else "there is nothing to remove")


def _ask(folder: Path, unwanted: Sequence[Kept], as_json: bool) -> None:
    if as_json or not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here: --yes clears without a question")
    click.confirm(f"remove {_total(unwanted)} from {printable(folder)}?", abort=True, err=True)


def _show(folder: Path, found: Sequence[Kept], as_json: bool) -> None:
    if as_json:
        emit_json({"folder": folder, "parts": [one._asdict() for one in found]})
        return
    from netspec.report.tables import show, table

    click.echo(printable(folder))
    rows = [(one.kind, one.what, f"{one.files:,}", size(one.bytes)) for one in found]
    total = ("total", "", f"{sum(one.files for one in found):,}", size(sum(one.bytes for one in found)))
    columns = ["folder", "what", "files", "size"]
    show(table(columns, rows, right=columns[2:], fold=["what"], total=total) if found else "nothing is kept yet")


def _total(some: Sequence[Kept]) -> str:
    files = many(sum(one.files for one in some), "file")
    return f"{files} ({size(sum(one.bytes for one in some)) or '0 B'})"
