"""``netspec lr-find``: the learning-rate range test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._runs import newest_run
from netspec.cli._specs import changes, find
from netspec.machine.names import shell_word

if TYPE_CHECKING:
    from netspec.report.rate_range import RateRange

_ENDINGS = (".csv", ".svg", ".png", ".pdf")
_RATE = click.FloatRange(min=0, min_open=True)


def _ending(ctx: click.Context, param: click.Parameter, output: str | None) -> str | None:
    if output is not None and Path(output).suffix.lower() not in _ENDINGS:
        raise click.BadParameter(f"{output}: the name must end with {', '.join(_ENDINGS)}")
    if output is not None and not Path(output).parent.is_dir():
        raise click.BadParameter(f"{output}: there is no such folder")
    return output


@click.command()
@options.spec
@options.data
@options.devices
@click.option("--from", "lowest", metavar="RATE", type=_RATE, default=1e-7, show_default=True, help="First rate.")
@click.option("--to", "highest", metavar="RATE", type=_RATE, default=10.0, show_default=True, help="Last rate.")
@click.option(
    "--iterations",
    "count",
    metavar="N",
    type=click.IntRange(min=20),
    default=100,
    show_default=True,
    help="Batches, each at a higher rate.",
)
@options.batch
@options.seed
@options.momentum
@options.weight_decay
@options.overrides
@options.plugins
@click.option("--init-from", metavar="RUN", help="Start from a run's or checkpoint's parameters: train.init_from.")
@options.runner
@options.workers
@click.option("-o", "--output", metavar="FILE", callback=_ending, help="Also write FILE.csv, or draw .svg, .png, .pdf.")
@options.as_json
def command(
    spec: str, lowest: float, highest: float, count: int, output: str | None, as_json: bool, **given: Any
) -> int:
    """Look for a learning rate: train on a few batches at rates that rise, and see where the loss falls and diverges.

    The range test of Smith (2017, section 3.3), with rates that rise by the same factor from batch to batch, as in
    fastai. It ends where the running mean of the losses is four times its lowest value, or a number is not finite. The
    spec's own rate and schedule do not count; all else is as in 'run'. Nothing that has been trained is kept.

    The suggestion is the middle of the decade of rates in which the loss falls most steeply: a first guess for
    'run --lr'. Where the loss falls no further than by chance there is none.

    \b
    Examples:
      netspec lr-find quickstart
      netspec lr-find alexnet --data imagenet/ --devices cuda:0,cuda:1 \\
          --iterations 300 -o rates.png
      netspec lr-find mine.yaml --from 1e-5 --to 1 --json
    """
    find(spec)
    if lowest >= highest:
        raise click.UsageError(f"--from {lowest:g} must be below --to {highest:g}")
    if output is not None and not output.lower().endswith(".csv"):
        from netspec.figures._style import check_installed

        check_installed()
    if given["init_from"] is not None:
        given["init_from"] = newest_run(given["init_from"], trained=True)
    sets = changes(given["overrides"], given, [("lr-find", "train.solver.learning_rate")])
    rest = {name: value for name, value in given.items() if name not in (*options.SHORT, "overrides")}
    from netspec.api import lr_find
    from netspec.report.progress import progress

    with progress(stderr=as_json) as listener:
        found = lr_find(
            spec, lowest=lowest, highest=highest, iterations=count, overrides=sets, listener=listener, **rest
        )
    base = None if found.suggestion is None else _base_rate(spec, sets, found.suggestion)
    line = None if base is None else " ".join(_run(spec, given, base))
    if output is not None and found.rates:
        _write(found, Path(output))
    if as_json:
        emit_json(_data(found, line))
    else:
        if found.rates:
            from netspec.report.rate_range import summary
            from netspec.report.tables import show

            show(summary(found))
        for text in _lines(found, output, line):
            click.echo(text)
    return found.exit_code


def _base_rate(spec: str, sets: Sequence[str], rate: float) -> float:
    """The learning rate of the spec with which its batches are trained at that rate, see train.scale."""
    from netspec.spec import load

    train = load(spec, sets).train
    return rate / train.scale.factor(train.batch) if train.scale else rate


def _run(spec: str, given: Mapping[str, Any], rate: float) -> Iterator[str]:
    """The words of the command that trains with that rate, and with all else that was given."""
    yield from ("netspec", "run", shell_word(spec))
    for name in ("data", "devices", "init_from", *options.SHORT):
        if (value := given.get(name)) is not None:
            yield from (f"--{name.replace('_', '-')}", shell_word(str(value)))
    for option, values in (("--set", given["overrides"]), ("--plugin", given["plugins"])):
        for value in values:
            yield from (option, shell_word(value))
    yield from ("--lr", f"{rate:g}")


def _write(found: RateRange, path: Path) -> None:
    from netspec.machine.atomic_files import write_whole

    if path.suffix.lower() == ".csv":
        write_whole(path, [found.as_csv().encode()])
        return
    from netspec.figures import Picture, figure_kinds

    picture = Picture(figure_kinds()["rates"]({}), found)
    write_whole(path, [picture.render(path.suffix.lower().removeprefix("."))])


def _lines(found: RateRange, output: str | None, line: str | None) -> Iterator[str]:
    from netspec.report.rate_range import RULE

    if not found.rates:
        yield f"ended before the first rate: {found.ended}"
        return
    yield f"ended at {found.rates[-1]:.2g}: {found.ended}"
    if output is not None:
        yield f"written to {output}"
    if line is None:
        yield "no suggestion: the loss falls nowhere by more than chance; try more --iterations, or a higher --to"
        return
    yield f"suggestion: {found.suggestion:g}, {RULE}"
    yield line


def _data(found: RateRange, line: str | None) -> dict[str, Any]:
    from netspec.report.rate_range import RULE

    points = {"rates": found.rates, "losses": found.losses, "smoothed": found.smoothed, "ended": found.ended}
    return {**points, "suggestion": found.suggestion, "rule": RULE, "command": line}
