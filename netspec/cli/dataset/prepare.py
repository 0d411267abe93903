"""``netspec data prepare``: images as they are given out become shards to train from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from netspec.cli import _options as options
from netspec.cli._exit import warn
from netspec.cli._output import emit_json
from netspec.errors import printable
from netspec.units import many, size

if TYPE_CHECKING:
    from netspec.prepare.prepare import Prepared

_LOSSLESS = "lossless"
_TOLD = 5


class _Quality(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in new versions of click alone
    name = "quality"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if value == _LOSSLESS:
            return 0
        if not str(value).isdecimal() or not 1 <= int(value) <= 100:
            self.fail(f"'{value}' is neither a number from 1 to 100 nor {_LOSSLESS}", param, ctx)
        return int(value)


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--size", metavar="N", type=click.IntRange(8, 2048), help="Side in pixels: 256; of CIFAR's, 32.")
@click.option(
    "--quality",
    metavar="N|lossless",
    type=_Quality(),
    help="Of the JPEGs, 1 to 100: 90. lossless: PNG, which CIFAR's images become by default.",
)
@click.option(
    "--shard-size",
    metavar="N",
    type=click.IntRange(min=1),
    default=4096,
    show_default=True,
    help="Images a shard.",
)
@options.workers
@options.as_json
def command(
    source: str, out: Path, size: int | None, quality: int | None, shard_size: int, workers: int | None, as_json: bool
) -> None:
    """Turn images as they are given out into tar shards with an index, to train from by --data OUT.

    SOURCE is a folder with ILSVRC-2012's archives (training, validation and development kit), with Caffe's lists or in
    torchvision's layout; any class folders, or archives of them; CIFAR-10 or CIFAR-100, python or binary, packed or
    not. Each image becomes upright, its short side SIZE pixels long, its central square a JPEG.

    A command that was interrupted or killed goes on where it stopped when it is given again. Broken images are left
    out; those and all odd ones are listed in OUT/report.txt.

    \b
    Examples:
      netspec data prepare imagenet/ prepared/
      netspec data prepare photos/ prepared/ --size 128 --quality 95
      netspec data prepare cifar-10-python.tar.gz cifar10/
    """
    from netspec.data.dataset import open_dataset
    from netspec.data.layout import source_from_path
    from netspec.data.settings import DataSpec
    from netspec.machine.environment import cores
    from netspec.machine.tasks import task
    from netspec.prepare.encode import Recipe
    from netspec.prepare.prepare import Options, prepare
    from netspec.report.progress import shown

    found = source_from_path(source)
    with shown("opening the images"):
        dataset = open_dataset(DataSpec(found), 0)
    _note(dataset.notes)
    small = dataset.type == "cifar"
    recipe = Recipe(size or (32 if small else 256), (0 if small else 90) if quality is None else quality)
    total = len(dataset.train) + (len(dataset.val) if dataset.val else 0)
    with shown(), task("preparing images", total) as tell:
        count = cores() if workers is None else workers
        done = prepare(dataset, found, out, Options(recipe, shard_size, count), tell)
    if as_json:
        emit_json({**done.__dict__, "out": out})
    else:
        _tell(done, out)


def _note(lines: Any) -> None:
    for line in lines:
        click.echo(line, err=True)


def _tell(done: Prepared, out: Path) -> None:
    images = " and ".join(many(count, f"{split} image") for split, count in done.images.items())
    made = f"{done.made:,} made now" if done.made else "all of them whole already"
    click.echo(f"{printable(out)}: {images} in {many(done.shards, 'shard')} ({made}), {size(done.bytes)}")
    broken = [f"{split}: {name}: {why}" for split, some in done.broken.items() for name, why in some]
    warn(f"broken, left out: {line}" for line in broken[:_TOLD])
    odd = ", ".join(f"{count:,} {kind}" for kind, count in sorted(done.remarks.items()))
    if odd:
        click.echo(f"odd images: {odd}; {printable(out / 'report.txt')} lists them")
    click.echo(f"train from it: netspec run SPEC --data {printable(out)}")
