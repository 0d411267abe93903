"""``netspec sweep``: a list of runs, and one table of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._runs import newest_run
from netspec.cli._specs import changes, find
from netspec.exit_codes import WRONG

if TYPE_CHECKING:
    from netspec.events import Listener

_SEEDS = re.compile(r"([0-9]+)(?:\.\.([0-9]+))?")


def _seeds(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[int, ...]:
    """``0..4`` and ``0,2,7`` as numbers."""
    found: dict[int, None] = {}
    for part in (text or "").split(",") if text else ():
        match = _SEEDS.fullmatch(part.strip())
        if match is None:
            raise click.BadParameter(f"'{part}' is neither a number nor a range such as 0..4")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise click.BadParameter(f"{part} holds no seed")
        found |= dict.fromkeys(range(first, last + 1))
    return tuple(found)


def _vary(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> dict[str, list[Any]]:
    """``PATH=[A, B]`` by path."""
    from netspec.spec.nodes import List, plain
    from netspec.spec.reader import parse

    found = {}
    for text in texts:
        path, equals, value = text.partition("=")
        node = parse(value, "--vary", []) if equals else None
        if not isinstance(node, List) or not node.items or not path.strip():
            raise click.BadParameter(f"'{text}' is not PATH=[V, V], as in train.solver.learning_rate=[0.01, 0.02]")
        found[path.strip()] = plain(node)
    return found


@click.command()
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@click.option("--seeds", metavar="LIST", callback=_seeds, help="Seeds, as in 0..4 or 0,2,7; the spec's own by default.")
@click.option(
    "--vary", metavar="PATH=[V, V]", multiple=True, callback=_vary, help="Values of the spec to try, each with each."
)
@options.data
@options.devices
@options.epochs
@options.iterations
@options.batch
@options.lr
@options.momentum
@options.weight_decay
@options.overrides
@options.plugins
@click.option("--out", metavar="DIR", default="runs", show_default=True, help="Runs lie in DIR/<name>/<time>/.")
@click.option("--init-from", metavar="RUN", help="Start from a run's or checkpoint's parameters: train.init_from.")
@options.runner
@options.workers
@options.tags
@options.note
@click.option("--csv", "as_csv", is_flag=True, help="Print the table as CSV.")
@options.as_json
def command(specs: tuple[str, ...], as_csv: bool, as_json: bool, overrides: tuple[str, ...], **given: Any) -> int:
    """Train a list of specs, each with several seeds or values, and print one table: mean and spread over the seeds.

    Each is an ordinary run, as 'netspec run' makes it. The same command again goes on where it was: runs that are
    finished are recognised by all that was asked of them, those that were stopped are resumed, and of more seeds
    or specs only the new ones are trained. A run that fails is told and does not stop the others.

    The table has the errors of each run's last evaluation: their mean ± standard deviation over the runs (n - 1 in its
    denominator), the standard error of the mean (se), and the first error's distance from the first row in points.

    \b
    Examples:
      netspec sweep quickstart --seeds 0..2 --epochs 1
      netspec sweep alexnet alexnet-no-lrn alexnet-no-dropout \\
          --data imagenet/ --seeds 0..4
      netspec sweep figure1-relu --data cifar10/ \\
          --vary 'train.solver.learning_rate=[0.001, 0.002]' --csv
    """
    for spec in specs:
        find(spec)
    if given["init_from"] is not None:
        given["init_from"] = newest_run(given["init_from"], trained=True)
    varied = [(f"--vary {path}", path) for path in given["vary"]] + [("--seeds", "train.seed")] * bool(given["seeds"])
    sets = changes(overrides, given, varied)
    rest = {name: value for name, value in given.items() if name not in options.SHORT}
    from netspec.api import sweep
    from netspec.report.sweep_table import NOTE, as_table, rows_of
    from netspec.report.sweep_table import as_csv as csv_of
    from netspec.report.tables import show

    with _progress(as_csv or as_json) as listener:
        trials = sweep(specs, listener=listener, overrides=sets, **rest)
    rows = rows_of(trials)
    if as_json:
        emit_json(rows)
    elif as_csv:
        click.echo(csv_of(rows), nl=False)
    else:
        show(as_table(rows), f"{NOTE}; errors are those of the last evaluation")
    if trials[-1].exit_code:
        click.echo("interrupted: the same command resumes it", err=True)
    failed = WRONG if any(trial.status == "failed" for trial in trials) else 0
    return trials[-1].exit_code or failed


@contextmanager
def _progress(stderr: bool) -> Iterator[Listener]:
    """The progress of each run in turn, without what else could be typed after it."""
    from netspec.events import RunFinished
    from netspec.report.progress import progress

    with progress(stderr=stderr) as listener:
        yield lambda event: listener(replace(event, commands={}) if isinstance(event, RunFinished) else event)
