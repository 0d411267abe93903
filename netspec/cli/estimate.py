"""``netspec estimate``: what a training would take on this machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from netspec.cli import _options as options
from netspec.cli._output import emit_json
from netspec.cli._specs import changes, find
from netspec.units import count, duration, many, percent, rate, size

if TYPE_CHECKING:
    from netspec.runners.estimate import Estimate

_SLOW_DATA, _UNSTEADY = 0.05, 0.25


@click.command()
@options.spec
@click.option("--images", type=click.IntRange(min=1), metavar="N", help="Training images an epoch, as in 1281167.")
@click.option("--val-images", type=click.IntRange(min=0), metavar="N", help="Images that each evaluation sees.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="How long to measure.")
@options.data
@options.devices
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
    overrides: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Time, memory and disk of a training on this machine, from some seconds of it.

    Iterations run as in a training, from reading images to the update, then an evaluation; nothing is written. Without
    --data images are drawn, which says nothing of how fast yours are read.

    \b
    Examples:
      netspec estimate alexnet --images 1281167 --val-images 50000
      netspec estimate alexnet --data imagenet/ --epochs 60
      netspec estimate quickstart --devices cpu:0,cpu:0 --seconds 3
    """
    find(spec)
    from netspec._types import Binding
    from netspec.report.progress import progress
    from netspec.runners.estimate import estimate
    from netspec.runners.training.request import Request

    binding = Binding(given["devices"], given["runner"], given["plugins"])
    request = Request(spec, given["data"], changes(overrides, given), binding, workers=given["workers"])
    with progress(stderr=as_json) as listener:
        found = estimate(request, seconds, images, val_images, listener)
    if as_json:
        times = {"training_s": found.training, "evaluation_s": found.evaluation, "seconds": found.seconds}
        emit_json({**asdict(found), **times, "disk": found.disk})
        return
    for line in _lines(found):
        click.echo(line)


def _lines(found: Estimate) -> list[str]:
    memory = ", ".join(f"{size(nbytes)} for '{name}'" for name, nbytes in found.memory.items())
    epochs = many(found.epochs, "epoch")
    seen = many(found.images, "image") + (f" and {count(found.val_images)} to validate" if found.val_images else "")
    lines = [
        f"{found.name} on {', '.join(found.devices)}, batch {found.batch}, images of {found.where}",
        "",
        f"  training     {rate(found.rate)} img/s, the median of {many(found.iterations, 'iteration')}"
        f" (half of them within {percent(found.spread, 0)} of each other)",
    ]
    if found.eval_rate:
        lines.append(f"  evaluation   {rate(found.eval_rate)} img/s")
    lines += [
        f"  {epochs:<12} {duration(found.seconds)}: {duration(found.training)} of training"
        f", {duration(found.evaluation)} of evaluation, for {seen}",
        f"  memory       {memory}, beside the program itself",
        f"  disk         {size(found.disk)} of checkpoints, {size(found.checkpoint)} each",
        "",
        *_advice(found),
    ]
    return lines


def _advice(found: Estimate) -> list[str]:
    """What binds, and what would help."""
    layers = ", ".join(f"{name} {percent(share, 0)}" for name, share in found.dearest)
    lines = [f"most operations: {layers}"]
    if found.waiting > _SLOW_DATA:
        lines.append(
            f"devices wait for images {percent(found.waiting, 0)} of the time: more --workers, or images of the right "
            "size beforehand (netspec data prepare), would help"
        )
    else:
        lines.append("images are read fast enough: what would help is fewer operations, or faster or more devices")
    if not found.tuned:
        lines.append(f"kernels were not measured here: netspec tune {found.name} does, and may find faster ones")
    if found.spread > _UNSTEADY:
        lines.append("iterations differ much: the machine does other work, and would be faster alone")
    return lines
