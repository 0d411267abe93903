"""``netspec graph``: a picture of a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._specs import load

if TYPE_CHECKING:
    from netspec.contract.kernel import Phase

_FORMATS = {".svg": "svg", ".mmd": "mmd", ".dot": "dot"}


@click.command()
@options.spec_or_run
@click.option("-o", "--output", metavar="FILE", help="net.svg, net.mmd (Mermaid) or net.dot (Graphviz).")
@options.phase
@options.overrides
@options.batch
@options.plugins
@options.trust
@options.as_json
def command(
    spec: str,
    output: str | None,
    phase: Phase,
    overrides: tuple[str, ...],
    batch: int | None,
    plugins: tuple[str, ...],
    as_json: bool,
) -> None:
    """Draw a network: devices as lanes, the edges that cross between them marked.

    Without -o it prints Mermaid text, which GitHub renders in Markdown. RUN is a run's folder, a folder of runs, of
    which the newest is taken, or a checkpoint.

    \b
    Examples:
      netspec graph alexnet -o alexnet.svg
      netspec graph alexnet -o alexnet.dot && dot -Tpdf alexnet.dot > alexnet.pdf
      netspec graph mine.yaml --json
      netspec graph runs/alexnet/2026-01-31_12-00-00 -o trained.svg
    """
    format = _format_of(output)
    from netspec.planning import build, to_plain

    plan = build(load(spec, overrides, plugins, batch), phase)
    if as_json:
        shown = {"name": plan.name, "devices": plan.devices, "layers": plan.shards, "edges": plan.edges}
        emit_json(to_plain(shown))
    if as_json and output is None:
        return
    from netspec.graph import draw

    drawn = draw(plan, format)
    if output is None:
        click.echo(drawn)
    else:
        Path(output).write_text(drawn, "utf-8")
        click.echo(f"wrote {output}", err=as_json)


def _format_of(output: str | None) -> str:
    if output is None:
        return "mmd"
    suffix = Path(output).suffix.lower()
    if suffix not in _FORMATS:
        raise click.UsageError(f"{output}: the name must end with {', '.join(_FORMATS)}")
    return _FORMATS[suffix]
