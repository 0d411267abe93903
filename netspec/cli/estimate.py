"""``netspec estimate``: what a training would take on this machine, or on a GPU by a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._specs import changes, find
from netspec.units import count, duration, many, percent, rate, size

if TYPE_CHECKING:
    from netspec.runners.estimate import Estimate, Measured
    from netspec.runners.modelled_estimate import Modelled
    from netspec.runners.training.request import Request

_SLOW_DATA, _UNSTEADY = 0.05, 0.25


@click.command()
@options.spec
@click.option("--images", type=click.IntRange(min=1), metavar="N", help="Training images an epoch, as in 1281167.")
@click.option("--val-images", type=click.IntRange(min=0), metavar="N", help="Images that each evaluation sees.")
@options.seconds
@options.data
@options.devices
@options.modelled
@options.epochs
@options.batch
@options.overrides
@options.plugins
@options.runner
@options.workers
@options.as_json
def command(
    spec: str,
    images: int | None,
    val_images: int | None,
    seconds: float,
    gpu: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Time, memory and disk of a training on this machine, from some seconds of it.

    Iterations run as in a training, from reading images to the update, then an evaluation; nothing is written. Without
    --data images are drawn, which says nothing of how fast yours are read.

    With --device nothing runs: a model gives the times for a GPU that carries all of the spec's devices, and says how
    far it was off where that was measured.

    \b
    Examples:
      netspec estimate alexnet --images 1281167 --val-images 50000
      netspec estimate alexnet --data imagenet/ --epochs 60
      netspec estimate quickstart --devices cpu:0,cpu:0 --seconds 3
      netspec estimate alexnet --device h100 --images 1281167
      netspec estimate alexnet --device a100 --images 1281167
    """
    if gpu:
        options.refuse_measuring("devices", "seconds", "runner", "workers")
    find(spec)
    from netspec._types import Binding
    from netspec.runners.training.request import Request

    binding = Binding(given["devices"], given["runner"], given["plugins"])
    request = Request(spec, given["data"], changes(overrides, given), binding, workers=given["workers"])
    if gpu:
        found, lines = _estimated(request, gpu, images, val_images)
    else:
        found, lines = _measured(request, seconds, images, val_images, as_json)
    if as_json:
        times = {"training_s": found.training, "evaluation_s": found.evaluation, "seconds": found.seconds}
        emit_json({**asdict(found), **times, "disk": found.disk})
        return
    for line in lines:
        click.echo(line)


def _measured(
    request: Request, seconds: float, images: int | None, val_images: int | None, as_json: bool
) -> tuple[Estimate, Iterator[str]]:
    from netspec.report.progress import progress
    from netspec.runners.estimate import estimate

    with progress(stderr=as_json) as listener:
        found = estimate(request, seconds, images, val_images, listener)
    return found, _lines_measured(found)


def _estimated(
    request: Request, gpu: str, images: int | None, val_images: int | None
) -> tuple[Estimate, Iterator[str]]:
    from netspec.runners.modelled_estimate import modelled

    found = modelled(request, gpu, images, val_images)
    return found, _lines_modelled(found)


def _lines_measured(found: Measured) -> Iterator[str]:
    yield f"{found.name} on {', '.join(found.devices)}, batch {found.batch}, images of {found.where}"
    yield ""
    steady = f"half of them within {percent(found.spread, 0)} of each other"
    yield f"  training     {rate(found.rate)} img/s, the median of {many(found.iterations, 'iteration')} ({steady})"
    yield from _totals(found)
    yield f"most operations: {_dearest(found)}"
    yield from _advice(found)


def _lines_modelled(found: Modelled) -> Iterator[str]:
    yield f"{found.name} on one {found.gpu}, batch {found.batch}, images of {found.where}"
    yield ""
    yield f"  training     {rate(found.rate)} img/s by a model, at most {rate(found.most)} with any kernels (roofline)"
    yield from _totals(found)
    yield f"a model's figures: {_checked(found)}"
    yield f"most time: {_dearest(found)}"
    if not found.fits:
        yield f"too large: the GPU has {size(found.room)}; a smaller train.batch needs less"
    yield f"images must come at {rate(found.rate)} img/s: without --device it is measured how fast they are read here"
    for one in found.changes:
        yield f"--set {one.set} would be {one.factor:.2f} times as fast"
    if found.tuned > 1:
        yield f"netspec tune on the card may help: {found.tuned:.2f} times as fast for AlexNet"


def _checked(found: Modelled) -> str:
    if not found.checked:
        return (
            "modelled, not measured: none of these kernels was timed on such a card; its rates are those of its data "
            "sheet, as large a share of each as an H100 gave"
        )
    if found.error is None:
        return "how far they are off was measured in tf32 and bf16, not in this precision"
    return f"iterations of {found.checked} were measured on the card, and are within {percent(found.error, 0)} of it"


def _totals(found: Estimate) -> Iterator[str]:
    memory = ", ".join(f"{size(nbytes)} for '{name}'" for name, nbytes in found.memory.items())
    epochs = many(found.epochs, "epoch")
    seen = many(found.images, "image") + (f" and {count(found.val_images)} to validate" if found.val_images else "")
    if found.eval_rate:
        yield f"  evaluation   {rate(found.eval_rate)} img/s"
    yield (
        f"  {epochs:<12} {duration(found.seconds)}: {duration(found.training)} of training"
        f", {duration(found.evaluation)} of evaluation, for {seen}"
    )
    yield f"  memory       {memory}, beside the program itself"
    yield f"  disk         {size(found.disk)} of checkpoints, {size(found.checkpoint)} each"
    yield ""


def _dearest(found: Estimate) -> str:
    return ", ".join(f"{name} {percent(share, 0)}" for name, share in found.dearest)


def _advice(found: Measured) -> Iterator[str]:
    """What binds, and what would help."""
    if found.waiting > _SLOW_DATA:
        yield (
            f"devices wait for images {percent(found.waiting, 0)} of the time: more --workers, or images of the right "
            "size beforehand (netspec data prepare), would help"
        )
    else:
        yield "images are read fast enough: what would help is fewer operations, or faster or more devices"
    if not found.tuned:
        yield f"kernels were not measured here: netspec tune {found.name} does, and may find faster ones"
    if found.spread > _UNSTEADY:
        yield "iterations differ much: the machine does other work, and would be faster alone"
