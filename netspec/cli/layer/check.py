"""``netspec layers check``: the contract suite on the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from netspec.cli import _options as options
from netspec.cli._exit import WRONG
from netspec.cli._output import emit_json
from netspec.cli._specs import load_plugins
from netspec.cli.layer.show import named

if TYPE_CHECKING:
    from netspec.check import Result

_COLOURS = {"passed": "green", "failed": "red", "skipped": "yellow"}


@click.command()
@click.argument("types", metavar="TYPE|FILE...", nargs=-1, required=True)
@click.option(
    "--backend", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Whose kernels to check."
)
@options.plugins
@options.as_json
def command(types: tuple[str, ...], backend: str, plugins: tuple[str, ...], as_json: bool) -> int:
    """Run the contract suite: schema, shapes, float64 gradients, fast kernels against plain ones, team sizes, shards.

    It is what registering a layer gives: nothing has to be written for it. Exits with 1 when a check fails.

    \b
    Examples:
      netspec layers check conv
      netspec layers check my_layer.py
      netspec layers check my_layer.py --backend cuda
    """
    from netspec.check import run

    load_plugins(plugins)
    names = [name for given in types for name in named(given)]
    results = [(name, result) for name in names for result in _told(name, run(name, backend), as_json)]
    if as_json:
        emit_json([{"type": name, **vars_of(result)} for name, result in results])
    else:
        counts = Counter(result.status for _, result in results)
        click.echo(", ".join(f"{count} {status}" for status, count in counts.items()))
    return WRONG if any(result.status == "failed" for _, result in results) else 0


def vars_of(result: Result) -> dict[str, str]:
    """A result as plain data."""
    return {"check": result.name, "status": result.status, "message": result.message}


def _told(name: str, results: Iterable[Result], quiet: bool) -> Iterable[Result]:
    """The results, each printed as it comes."""
    for result in results:
        if not quiet:
            status = click.style(f"{result.status:<7}", fg=_COLOURS.get(result.status))
            click.echo(f"{status}  {name}: {result.name}{f': {result.message}' if result.message else ''}")
        yield result
