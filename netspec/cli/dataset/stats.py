"""``netspec data stats``: the mean image and the covariance of colours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from netspec.cli import _options as options
from netspec.cli._exit import warn
from netspec.cli._output import emit_json
from netspec.errors import printable
from netspec.units import many

if TYPE_CHECKING:
    from netspec.data.statistics import Statistics

_TOLD = 5


@click.command()
@click.argument("source", metavar="SOURCE|DIR")
@click.option("--size", metavar="N", type=click.IntRange(1, 2048), help="Side in pixels: the prepared set's, or 256.")
@click.option(
    "--out",
    "-o",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write them there, as a .npz file. Those of a prepared set are kept beside its shards.",
)
@options.workers
@options.as_json
def command(source: str, size: int | None, out: Path | None, workers: int | None, as_json: bool) -> None:
    """Mean image, mean colour, and the covariance of RGB with its eigenvectors, over all training images in one pass.

    Those of a prepared set DIR are written to DIR/statistics.npz, where runs find them: the mean image is then that of
    all images, and no run computes it again. Grey levels are from 0 to 255.

    \b
    Examples:
      netspec data stats prepared/
      netspec data stats photos/ --size 128 -o photos.npz
      netspec data stats prepared/ --json
    """
    from netspec.data.dataset import open_dataset
    from netspec.data.image_statistics import image_statistics
    from netspec.data.kept_statistics import save_statistics
    from netspec.data.layout import source_from_path
    from netspec.data.settings import DataSpec
    from netspec.machine.tasks import task
    from netspec.report.progress import shown

    data = DataSpec(source_from_path(source))
    with shown("opening the images"):
        dataset = open_dataset(data, 0)
    kept = dataset.train.kept
    size = size or (kept.size if kept is not None else 256)
    for line in dataset.notes:
        click.echo(line, err=True)
    with shown(), task("reading images", len(dataset.train)) as tell:
        found, broken = image_statistics(dataset.train, size, workers, tell)
    written = []
    if kept is not None and size == kept.size:
        save_statistics(kept.path, found, kept.digest)
        written.append(kept.path)
    if out is not None:
        save_statistics(out, found, "")
        written.append(out)
    warn(f"broken, left out: {name}: {reason}" for name, reason in broken[:_TOLD])
    if as_json:
        emit_json(_data(found, written))
    else:
        _show(found, written)


def _data(found: Statistics, written: list[Path]) -> dict[str, Any]:
    """All but the mean image itself, which is in the file."""
    arrays = {name: value.tolist() for name, value in found._asdict().items() if name not in ("images", "mean")}
    return {"images": found.images, "size": list(found.mean.shape[:2]), **arrays, "written": written}


def _show(found: Statistics, written: list[Path]) -> None:
    from netspec.report.tables import show, table

    names = "RGB"
    click.echo(f"{many(found.images, 'image')} of {found.mean.shape[1]} x {found.mean.shape[0]} pixels")
    rows = [
        (names[i], f"{found.channel_mean[i]:.3f}", *(f"{value:,.2f}" for value in found.covariance[i]))
        for i in range(3)
    ]
    show(table(["channel", "mean", *(f"cov. {name}" for name in names)], rows))
    axes = [
        (str(i + 1), f"{value:,.2f}", f"{value**0.5:.3f}", *(f"{part:+.5f}" for part in found.eigenvectors[:, i]))
        for i, value in enumerate(found.eigenvalues)
    ]
    show(table(["component", "eigenvalue", "std. dev.", *names], axes))
    for path in written:
        click.echo(f"written: {printable(path)}")
