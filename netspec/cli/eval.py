"""``netspec eval``: errors over a set of images."""

from __future__ import annotations

from typing import Any, Literal

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json

_VIEWS: dict[str, Literal[1, 10]] = {"1": 1, "10": 10}


@click.command()
@click.argument("run", metavar="RUN")
@options.data
@options.devices
@click.option("--split", type=click.Choice(["val", "train"]), default="val", show_default=True, help="Which images.")
@click.option(
    "--views", type=click.Choice(["1", "10"]), help="1: the centre. 10: corners and centre, mirrored too, averaged."
)
@options.batch
@options.plugins
@options.runner
@options.workers
@options.as_json
def command(run: str, views: str | None, as_json: bool, **given: Any) -> None:
    """Loss and errors of a trained network over a set of images, each image counted once.

    RUN is a run's folder, of which the best checkpoint is taken, or a checkpoint file. It evaluates on any devices,
    whatever it was trained on. DIR needs no training images: DIR/val or DIR/test of class folders will do, or the class
    folders themselves, named as the run's classes are; some may be missing. Images that cannot be read are counted and
    named, and left out.

    \b
    Examples:
      netspec eval runs/quickstart/2026-01-31_12-00-00
      netspec eval runs/alexnet/2026-01-31_12-00-00 --data imagenet/ --views 10
      netspec eval RUN --data photos/
      netspec eval RUN --split train --json
    """
    from netspec.api import evaluate
    from netspec.report.progress import progress

    with progress(stderr=as_json) as listener:
        done = evaluate(run, views=_VIEWS.get(views or ""), listener=listener, **given)
    if as_json:
        emit_json(done)
