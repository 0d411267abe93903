"""``netspec data show``: what training sees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from netspec.cli import _options as options
from netspec.cli._specs import load
from netspec.errors import printable
from netspec.units import many, percent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from netspec.data.dataset import Dataset
    from netspec.data.pipeline import Batch
    from netspec.data.source import Split
    from netspec.spec.types import Spec


@click.command()
@options.spec
@options.data
@click.option("--images", metavar="N", type=click.IntRange(1, 1024), default=60, show_default=True, help="How many.")
@click.option("--split", type=click.Choice(["train", "val"]), default="train", show_default=True, help="Which images.")
@click.option("--epoch", metavar="N", type=click.IntRange(min=1), default=1, show_default=True, help="Of which epoch.")
@click.option(
    "--out",
    "-o",
    metavar="FILE",
    type=click.Path(path_type=Path),
    default="contact-sheet.png",
    show_default=True,
    help="The PNG file.",
)
@options.overrides
@options.plugins
@options.trust
def command(
    spec: str,
    data: str | None,
    images: int,
    split: Literal["train", "val"],
    epoch: int,
    out: Path,
    overrides: tuple[str, ...],
    plugins: tuple[str, ...],
) -> None:
    """Draw a contact sheet of the first images that training sees in an epoch, as it sees them: resized, cropped,
    mirrored, their colours altered, each with its class. Validation images are shown as they are evaluated, the frames
    of a sequence side by side.

    The images are those of a run of the same spec and seed, in their order.

    \b
    Examples:
      netspec data show alexnet --data prepared/
      netspec data show quickstart --epoch 2 --images 24 -o second.png
    """
    from netspec.data.pipeline import Pipeline
    from netspec.errors import NetspecError, SpecError
    from netspec.machine.atomic_files import write_whole
    from netspec.planning.trainable import inputs_read, set_problems
    from netspec.report import progress
    from netspec.report.contact_sheet import contact_sheet
    from netspec.runners.training.follow_data import open_images
    from netspec.runners.training.request import with_data

    with progress.shown("opening the images"):
        opened = open_images(with_data(load(spec, overrides, plugins), data), own=data is not None)
    described, dataset = opened.spec, opened.source
    shown = dataset.train if split == "train" else dataset.val
    if shown is None:
        raise NetspecError(f"{dataset.where}: no validation images")
    if problems := list(set_problems(described, shown.arrays, shown.number_count)):
        raise SpecError(problems)
    read, count = inputs_read(described), min(images, len(shown))
    if read.image is None:
        raise NetspecError(f"{described.name} reads no images")
    rest = (split, count, read.shape, described.train.seed, 0, read.more)
    with progress.shown("reading images"), Pipeline(shown, described.data, *rest) as pipeline:
        batch = next(pipeline.epoch(epoch - 1))
        pixels = _pixels(batch, dataset.train.of_input(read.image), described, read.shape)
        sheet = contact_sheet(pixels, _captions(batch, dataset))
    write_whole(out, [sheet])
    click.echo(f"{printable(out)}: {batch.valid:,} of {many(len(shown), 'image')} of {dataset.where}")


def _pixels(batch: Batch, train: Split, spec: Spec, shape: Sequence[int]) -> NDArray[np.uint8]:
    """The images with their colours as the device alters them: what it makes of them, and the mean again.

    Uint8 (N, H, W, C); frames of a sequence stand side by side.
    """
    import numpy as np

    images = batch.image[: batch.valid]
    if "tint" in batch.beside:
        from netspec.data.augment import tinted
        from netspec.data.mean import image_constants

        known = image_constants(train, spec.data, shape, spec.train.seed)
        mean, tint = known["mean"].reshape(-1, *shape[-2:]), batch.beside["tint"][: batch.valid]
        altered = tinted(images.reshape(-1, *mean.shape), tint, mean, known["components"]) + mean
        images = np.clip(np.rint(altered), 0, 255).astype(np.uint8).reshape(images.shape)
    if len(shape) == 4:
        frames, height, width, channels = shape
        images = images.swapaxes(1, 2).reshape(-1, height, frames * width, channels)
    return images


def _captions(batch: Batch, dataset: Dataset) -> list[str]:
    """The class of each image, in words where there are some, or the numbers that belong to it."""
    if not dataset.classes:
        values = [array for array in batch.named.values() if array.dtype.kind == "f"]
        return [", ".join(f"{one:.2g}" for array in values for one in array[row].flat) for row in range(batch.valid)]
    names = [dataset.words.get(name, name) for name in dataset.classes]
    found = [names[label] for label in batch.label[: batch.valid]]
    if not batch.mixed:
        return found
    others = zip(found, batch.mixed["other"], batch.mixed["share"], strict=False)
    return [f"{own}, {percent(float(share), 0)} {names[other]}" for own, other, share in others]
