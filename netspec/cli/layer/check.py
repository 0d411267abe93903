"""``netspec layers check``: the contract suite on the command line."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._specs import load_plugins
from netspec.cli.layer.show import named
from netspec.exit_codes import WRONG

if TYPE_CHECKING:
    from netspec.check import Result
    from netspec.contract.kernel import Backend

_COLOURS = {"passed": "green", "failed": "red", "skipped": "yellow"}


@click.command()
@click.argument("types", metavar="TYPE|FILE...", nargs=-1, required=True)
@click.option(
    "--backend",
    "backends",
    type=click.Choice(["cpu", "cuda"]),
    multiple=True,
    default=["cpu", "cuda"],
    help="Whose kernels to check; by default both. Without a GPU the compiled CUDA kernels run in an emulator.",
)
@options.plugins
@options.as_json
def command(types: tuple[str, ...], backends: Sequence[Backend], plugins: tuple[str, ...], as_json: bool) -> int:
    """Run the contract suite: schema, shapes, float64 gradients, fast kernels against plain ones, team sizes, shards.

    It is what registering a layer gives: nothing has to be written for it. Augmentations and solvers have suites of
    their own: draws, means, the same bits for any number of workers; the formula, what is kept, GPUs against CPUs.
    Exits with 1 when a check fails.

    \b
    Examples:
      netspec layers check conv
      netspec layers check my_layer.py
      netspec layers check my_layer.py --backend cpu
    """
    from netspec.report.progress import shown

    load_plugins(plugins)
    results = []
    with shown():
        for name in [name for given in types for name in named(given)]:
            results += [(name, result) for result in _checked(name, backends, quiet=as_json)]
    if as_json:
        emit_json([{"type": name, **_data(result)} for name, result in results])
    else:
        counts = Counter(result.status for _, result in results)
        click.echo(", ".join(f"{count} {status}" for status, count in counts.items()))
    return WRONG if any(result.status == "failed" for _, result in results) else 0


def _checked(name: str, backends: Sequence[Backend], quiet: bool) -> Iterator[Result]:
    """The results, each printed as it comes."""
    from netspec.check import checked

    if not quiet:
        click.echo(f"{name}:", file=sys.stdout)  # as it is now: progress shows beneath
    for result in checked(name, backends):
        if not quiet:
            status = click.style(f"{result.status:<7}", fg=_COLOURS[result.status])
            text = result.message or result.about.partition("\n")[0]
            click.echo(f"  {status}  {result.name:<15}  {text}", file=sys.stdout)
        yield result


def _data(result: Result) -> dict[str, str]:
    return {"check": result.name, "status": result.status, "about": result.about, "message": result.message}
