"""``netspec features``: a layer's activations, to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._runs import newest_run
from netspec.units import many, shape


@click.command()
@click.argument("run", metavar="RUN")
@click.option("-o", "--out", metavar="FILE", required=True, help="FILE.npz or FILE.parquet.")
@click.option("--layer", metavar="NAME", help="The layer whose output is taken; by default the last hidden one.")
@options.data
@options.devices
@options.split
@options.batch
@options.plugins
@options.trust
@options.runner
@options.workers
@options.as_json
def command(run: str, out: str, layer: str | None, plugins: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Write a layer's activations for a set of images, with the images' names and classes beside them.

    The last hidden layer is what the last layer with parameters reads: in AlexNet 4096 numbers, both devices' halves
    joined in order. Images are cropped at the centre, and need not be those of the training: see netspec eval. numpy
    reads FILE.npz (features, names, labels, classes, index, layer). RUN is as for netspec eval.

    \b
    Examples:
      netspec features runs/alexnet/2026-01-31_12-00-00 -o features.npz
      netspec features RUN --data imagenet/ -o features.parquet
      netspec features RUN --layer pool5 --split train -o pool5.npz
    """
    from netspec._types import Binding
    from netspec.evaluation.features_file import ENDINGS
    from netspec.evaluation.table_files import check_file
    from netspec.report.progress import progress
    from netspec.runners.features import write_features
    from netspec.runners.streaming import Asked

    path, run = Path(out), newest_run(run, trained=True)
    check_file(path, ENDINGS)
    binding = Binding(given.pop("devices"), given.pop("runner"), plugins)
    with progress(stderr=as_json) as listener:
        done = write_features(Path(run), path, layer, Asked(binding, views=1, **given), listener)
    if as_json:
        emit_json({"file": out, **done._asdict()})
        return
    click.echo(f"{path}: {done.layer}, {shape(done.shape)} features of each of {many(done.images, 'image')}")
