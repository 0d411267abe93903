"""``netspec table``: the paper's tables, with one's own runs below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._runs import newest_run
from netspec.cli.eval import VIEWS


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@options.data
@options.devices
@options.split
@click.option(
    "--views", type=click.Choice(list(VIEWS)), default="10", show_default=True, help="Crops an image, as in the paper."
)
@click.option(
    "--format", "kind", type=click.Choice(["text", "csv", "latex"]), default="text", show_default=True, help="As what."
)
@options.metrics
@options.batch
@options.plugins
@options.trust
@options.runner
@options.workers
@options.as_json
def command(runs: tuple[str, ...], views: str, kind: str, as_json: bool, **given: Any) -> None:
    """Tables 1 and 2 of the paper as published, and below them what your networks reach.

    RUNs are evaluated as by netspec eval: a row for each alone and, of several, one for the average of their
    probabilities. Each names its runs, its set of images and how many views an image was seen in. Published figures and
    your own compare only on the same images.

    \b
    Examples:
      netspec table runs/alexnet/2026-01-31_12-00-00 --data imagenet/
      netspec table runs/alexnet/* --data imagenet/ --format latex > table.tex
    """
    from netspec.api import evaluate
    from netspec.errors import NetspecError
    from netspec.report import paper_tables as tables
    from netspec.report.progress import progress
    from netspec.report.published import TABLES
    from netspec.report.tables import show
    from netspec.runners.scoring import need_classes

    if as_json and kind != "text":
        raise click.UsageError("--json and --format exclude each other")
    need_classes([Path(run) for run in runs])
    with progress(stderr=True) as listener:
        done = evaluate([newest_run(run, trained=True) for run in runs], views=VIEWS[views], listener=listener, **given)
    if done.results is None:
        raise NetspecError(f"{done.run}: the network gives no class probabilities")
    rows = tables.measured_rows(done)
    if as_json:
        emit_json({"published": TABLES, "measured": [row.as_data() for row in rows]})
    elif kind == "text":
        show(*tables.as_text(rows))
    else:
        click.echo(tables.as_csv(rows) if kind == "csv" else tables.as_latex(rows), nl=False)
