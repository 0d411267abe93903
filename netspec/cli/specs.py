"""``netspec specs``: the networks that can be named without a path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.errors import NoSuchFile

if TYPE_CHECKING:
    from netspec.report.spec_list import Listed


@click.command()
@click.argument("folder", metavar="[DIR]", required=False)
@options.as_json
def command(folder: str | None, as_json: bool) -> None:
    """List the specs that come with netspec, or those of DIR, each with what its first comment begins with.

    A spec that extends another one is below it. Each can be given by its name to every command that takes a SPEC.

    \b
    Examples:
      netspec specs
      netspec show alexnet-no-lrn      what one changes
      netspec specs experiments/
    """
    from netspec._paths import specs_folder
    from netspec.report.spec_list import spec_list

    if folder is not None and not Path(folder).is_dir():
        raise NoSuchFile(f"{folder}: no such folder")
    found = spec_list(Path(folder) if folder is not None else specs_folder())
    if as_json:
        names = ("name", "path", "extends", "summary", "about")
        emit_json([{name: getattr(one, name) for name in names} for one in found])
    elif not found:
        click.echo(f"no specs in {folder}: no file there ends in .yaml")
    else:
        _show(found)


def _show(found: list[Listed]) -> None:
    from netspec.report.tables import show, table

    rows: list[tuple[str, str]] = []
    for one in found:
        rows += [("", "")] * (one.depth == 0 and bool(rows))
        rows.append(("  " * one.depth + one.name, one.summary))
    show(table(["spec", "what it is"], rows, fold=["what it is"]))
