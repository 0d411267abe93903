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
    from netspec.cli.layer._watched_suite import Outcome

_COLOURS = {"passed": "green", "failed": "red", "skipped": "yellow"}
_HEADINGS = {"failed": "failed", "passed": "held", "skipped": "left out"}


@click.command()
@click.argument("types", metavar="TYPE|FILE...", nargs=-1, required=True)
@click.option(
    "--backend",
    "backends",
    type=click.Choice(["cpu", "cuda"]),
    multiple=True,
    help="Whose kernels there must be; without it those are checked that there are. Without a GPU the compiled CUDA "
    "kernels run in an emulator.",
)
@click.option(
    "--time-limit",
    "limit",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="What one run of a kernel may take: a loop without an end fails.",
)
@click.option("--html", metavar="FILE", help="Write the results as a page too.")
@options.plugins
@options.as_json
def command(
    types: tuple[str, ...],
    backends: tuple[str, ...],
    limit: float,
    html: str | None,
    plugins: tuple[str, ...],
    as_json: bool,
) -> int:
    """Run the contract suite: schema, shapes, float64 gradients, fast kernels against plain ones, team sizes, shards.

    It is what registering a layer gives: nothing has to be written for it. What else a plugin registers has a
    suite of its kind, such as an augmentation (draws, means, the same bits for any number of workers), a solver (the
    formula, what is kept, GPUs against CPUs), a source or a callback.
    Exits with 1 when a check fails.

    \b
    Examples:
      netspec layers check conv
      netspec layers check my_layer.py
      netspec layers check my_layer.py --backend cpu --html my_layer.html
    """
    from netspec.cli.layer._watched_suite import watched
    from netspec.report.progress import shown

    load_plugins(plugins)
    names = [name for given in types for name in named(given)]
    with shown():
        results = list(_told(watched(names, backends or None, limit), quiet=as_json))
    if as_json:
        emit_json([_data(result) for result in results])
    else:
        _summarise(results)
    if html is not None:  # last: what took minutes is told even where the page cannot be written
        _write_page(html, results)
    return WRONG if any(result.status == "failed" for result in results) else 0


def _told(results: Iterator[Outcome], quiet: bool) -> Iterator[Outcome]:
    """The results; what holds and what fails is printed as it comes, and progress shows beneath."""
    last = None
    for result in results:
        if not quiet and result.type != last:
            click.echo(f"{result.type}:", file=sys.stdout)
            last = result.type
        if not quiet and result.status != "skipped":
            status = click.style(f"{result.status:<7}", fg=_COLOURS[result.status])
            click.echo(f"  {status}  {result.name:<15}  {_text(result)}", file=sys.stdout)
        yield result


def _text(result: Outcome) -> str:
    """Why it failed or was left out, else what was checked."""
    return result.message or result.about.partition("\n")[0]


def _summarise(results: Sequence[Outcome]) -> None:
    """What held and what did not, and what was left out for which reason; last the numbers."""
    from netspec.report.tables import PAGE_WIDTH, show, table

    grouped: dict[tuple[str, str, str], list[str]] = {}
    types = list(dict.fromkeys(result.type for result in results))
    for result in sorted(results, key=lambda one: (types.index(one.type), list(_HEADINGS).index(one.status))):
        why = result.message if result.status == "skipped" else ""
        grouped.setdefault((result.type, _HEADINGS[result.status], why), []).append(result.name)
    rows = [(*key[:2], ", ".join(checks), key[2]) for key, checks in grouped.items()]
    show(table(["type", "result", "checks", "why"], rows, fold=["checks", "why"]), pipe_width=PAGE_WIDTH)
    click.echo(_counted(results))


def _counted(results: Sequence[Outcome]) -> str:
    """``12 passed, 3 skipped``"""
    counts = Counter(result.status for result in results)
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def _write_page(file: str, results: Sequence[Outcome]) -> None:
    from pathlib import Path

    from netspec.machine.atomic_files import told, write_text
    from netspec.page.document import Section, document, table

    sections = []
    for name in dict.fromkeys(result.type for result in results):
        rows = [(one.name, one.status, _text(one)) for one in results if one.type == name]
        columns = ["check", "result", "what is checked, or why not"]
        sections.append(Section(name, name, table(columns, rows, fold=columns[2:])))
    with told(file):
        write_text(Path(file), document("Contract suite", _counted(results), sections))


def _data(result: Outcome) -> dict[str, str]:
    return {
        "type": result.type,
        "check": result.name,
        "status": result.status,
        "about": result.about,
        "message": result.message,
    }
