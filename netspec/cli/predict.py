"""``netspec predict``: what a network sees in images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from netspec.cli import _options as options
from netspec.cli._exit import complain
from netspec.cli._output import emit_json
from netspec.cli._runs import newest_run
from netspec.errors import printable
from netspec.events import Event, Note
from netspec.exit_codes import WRONG
from netspec.units import many, percent

if TYPE_CHECKING:
    from netspec._types import Prediction


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--top", metavar="N", type=click.IntRange(min=1), default=5, show_default=True, help="Classes an image.")
@options.devices
@options.batch
@options.plugins
@options.trust
@options.runner
@options.as_json
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV: a row an image, errors last.")
def command(run: str, images: tuple[str, ...], as_json: bool, as_csv: bool, **given: Any) -> int:
    """The likeliest classes of images, best first; of a network that predicts numbers, these.

    RUN is a run's folder, of which the best checkpoint is taken, a folder of runs, of which the newest is, or a
    checkpoint file. IMAGE is a file, a folder, of which all images are taken at any depth and in the order of their
    names, or a quoted pattern. An image that cannot be read, or whose probabilities are not finite, is told and
    counted, the others are shown all the same; the exit code is 1 then.

    \b
    Examples:
      netspec predict runs/quickstart/2026-01-31_12-00-00 photo.jpg
      netspec predict RUN *.png --top 1
      netspec predict RUN photos/ --csv > seen.csv
      netspec predict RUN photo.jpg --json
    """
    from netspec.api import predict
    from netspec.report.progress import progress

    if as_json and as_csv:
        raise click.UsageError("either --json or --csv")
    with progress(stderr=True) as listener:
        newest = newest_run(run, trained=True)
        predictions = predict(newest, images, listener=lambda event: listener(_marked(event)), **given)
    if as_json:
        emit_json([_data(prediction) for prediction in predictions])
    elif as_csv:
        _emit_csv(predictions)
    else:
        _show(predictions)
    wrong = sum(1 for prediction in predictions if prediction.error)
    if wrong and len(predictions) > 1:
        complain(f"{wrong:,} of {many(len(predictions), 'image')} have no answer")
    return WRONG if wrong else 0


def _marked(event: Event) -> Event:
    return Note(f"note: {event.text}") if isinstance(event, Note) else event


def _data(prediction: Prediction) -> dict[str, Any]:
    top = [
        {"class": name, "words": words, "probability": value}
        for (name, value), words in zip(prediction.top, prediction.words, strict=True)
    ]
    numbers = {"numbers": list(prediction.numbers)} if prediction.numbers else {}
    return {"path": prediction.path, "top": top, **numbers, "error": prediction.error}


def _emit_csv(predictions: Sequence[Prediction]) -> None:
    from netspec.evaluation.predictions_file import predictions_csv

    click.echo(predictions_csv(predictions), nl=False)


def _show(predictions: Sequence[Prediction]) -> None:
    for prediction in predictions:
        if prediction.error:
            complain(f"{printable(prediction.path)}: {prediction.error}")
            continue
        click.echo(printable(prediction.path))
        if prediction.numbers:
            click.echo(f"  {'  '.join(f'{number:.6g}' for number in prediction.numbers)}")
        for (name, probability), words in zip(prediction.top, prediction.words, strict=True):
            told = f"{printable(name)}: {printable(words)}" if words else printable(name)
            click.echo(f"  {percent(probability):>7}  {told}")
