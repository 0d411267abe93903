"""A spec for somebody's own images: which net, how large its images, batch, epochs and rate, each with its reason."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from netspec import units
from netspec.data import held_out
from netspec.data.dataset import Dataset, open_dataset
from netspec.data.layout import source_from_path
from netspec.data.settings import DataSpec
from netspec.data.survey import Survey, survey
from netspec.errors import NetspecError, SpecError, printable
from netspec.machine.environment import host_memory
from netspec.machine.names import argument
from netspec.planning import build, check
from netspec.planning.trainable import Images, only_image, problems_with
from netspec.program import memory
from netspec.registry import layer_types
from netspec.report.lowered import lowered
from netspec.spec import files, load, loads
from netspec.spec.class_counts import WORD, may_follow, settled
from netspec.spec.scalars import text_of
from netspec.spec.types import Spec
from netspec.units import size

SMALL = 48
"""Short side of small images, in pixels."""
SOME, MANY = 5_000, 20_000
"""From so many small images on there is CIFAR's net for them; from so many larger ones on a large net can learn."""
_SMALL_NET, _PLAIN_NET, _LARGE_NET = "cifar10-quick", "quickstart", "alexnet"
_PLAIN_SIDE = 64
_UPDATES, _MOST_EPOCHS, _LEAST_BATCH, _LEAST_ITERATIONS = 2000, 100, 8, 8
_COMMENT_COLUMN = 44


@dataclass(frozen=True, slots=True)
class Found:
    """A person's images: where they are, the open set, and how large they are."""

    source: Mapping[str, str]
    dataset: Dataset
    sizes: Survey

    @property
    def images(self) -> int:
        """Training images."""
        return len(self.dataset.train)


@dataclass(frozen=True, slots=True)
class Base:
    """The spec that the new one extends: what ``extends`` says, the Spec with its new image size, and why this one."""

    extends: str
    spec: Spec
    why: str
    is_resized: bool = False

    @property
    def side(self) -> int:
        """Height and width of what the network takes."""
        return self.spec.inputs[only_image(self.spec)].shape[0]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the spec, and why it says that."""

    text: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.text:<{_COMMENT_COLUMN}}  # {self.why}" if self.why else self.text


def new_spec(path: Path, data: str | Path, base: str | None) -> tuple[str, Sequence[str]]:
    """The text of a spec at ``path`` for the images in ``data``, and lines for people on the images.

    ``base`` is the spec to build on, a file or a shipped name; None: one is chosen by size and number of the images.
    The text holds and can be run as it is. Raises NetspecError where no spec can be made for these images.
    """
    found = look_at(data)
    chosen = _chosen(found) if base is None else _named(base, path.parent)
    text = "\n".join(map(str, _lines(path, found, chosen))) + "\n"
    _check(text, path, found)
    return text, found.dataset.notes


def look_at(data: str | Path) -> Found:
    """Open the images and look at some of them. Raises NetspecError where they are not image files with classes."""
    source = source_from_path(data)
    dataset = open_dataset(DataSpec(source, split=held_out.USUAL), 0)
    if dataset.train.arrays is not None or not dataset.classes:
        raise NetspecError(f"{printable(data)}: arrays; specs are written here for image files in class folders")
    sizes = survey(dataset.train)
    if sizes is None:
        raise NetspecError(f"{printable(data)}: none of the images that were looked at can be read")
    return Found(source, dataset, sizes)


def _chosen(found: Found) -> Base:
    """The net for images of that size and number."""
    is_small = found.sizes.median <= SMALL
    if found.images >= (SOME if is_small else MANY):
        name, what = (_SMALL_NET, "CIFAR's, of 32 x 32 pixels") if is_small else (_LARGE_NET, "a large net")
        return Base(name, load(name), f"{units.many(found.images, 'image')}: enough for {what}")
    why = f"{units.many(found.images, 'image')}: a larger net would learn them by heart"
    spec = load(_PLAIN_NET)
    if is_small:
        return Base(_PLAIN_NET, spec, why)
    name = only_image(spec)
    image = replace(spec.inputs[name], shape=(_PLAIN_SIDE, _PLAIN_SIDE, spec.inputs[name].shape[-1]))
    return Base(_PLAIN_NET, replace(spec, inputs={**spec.inputs, name: image}), why, is_resized=True)


def _named(base: str, folder: Path) -> Base:
    path = files.find(base)
    is_shipped = path.resolve() == (files.shipped().get(path.stem) or Path()).resolve()
    extends = path.stem if is_shipped else os.path.relpath(str(path), str(folder))
    spec = load(path)
    shape = spec.inputs[only_image(spec)].shape
    if len(shape) != 3 or shape[0] != shape[1]:
        raise NetspecError(f"{base}: takes {list(shape)}; specs are written here for nets of single square images")
    return Base(extends, spec, "as asked for")


def _lines(path: Path, found: Found, base: Base) -> Iterator[Line]:
    sizes, dataset = found.sizes, found.dataset
    validation = "none" if dataset.val is None else f"{len(dataset.val):,}" + " of them held out" * dataset.is_held_out
    many = len(dataset.train) + (len(dataset.val or ()) if dataset.is_held_out else 0)
    classes = units.many(len(dataset.classes), "class")
    yield Line(f"# For {units.many(many, 'image')} of {classes}, to validate with: {validation}.")
    span = f"{sizes.least} to {sizes.greatest} pixels, {sizes.median} in the middle"
    yield Line(f"# Their short sides have {f'{sizes.least} pixels' if sizes.least == sizes.greatest else span}.")
    yield Line(f"#   netspec validate {argument(path)}")
    yield Line(f"#   netspec run {argument(path)}")
    yield Line("netspec: 1")
    yield Line(f"extends: {text_of(base.extends)}", base.why)
    yield from _network(found, base)
    yield Line("")
    yield from _training(found, base)
    yield Line("")
    yield from _data(path, found, base)


def _network(found: Found, base: Base) -> Iterator[Line]:
    name = only_image(base.spec)
    shape = list(base.spec.inputs[name].shape)
    if base.is_resized:
        yield Line("inputs:")
        yield Line(f"  {name}: {{shape: {shape}}}", "twice as large takes four times as long")
    layer = _answer(base.spec)
    if layer is not None:
        yield Line("layers:")
        yield Line(f"  - {{name: {layer[0]}, {layer[1]}: {WORD}}}", "as many as the images have")


def _answer(spec: Spec) -> tuple[str, str] | None:
    """The last layer whose channels may follow the classes, and the attribute; None where it does already."""
    for layer in reversed(spec.layers):
        for key, schema in layer_types()[layer.type].attrs.items():
            if may_follow(schema):
                return None if key in layer.of_classes else (layer.name, key)
    return None


def _training(found: Found, base: Base) -> Iterator[Line]:
    train = base.spec.train
    batch, needs, have = _batch(found, base)
    each = found.images // batch
    yield Line("train:")
    taken = f"; takes {size(needs)} of {size(have)} here" if have else f"; takes {size(needs)}"
    yield Line(f"  batch: {batch}", f"{each:,} iterations an epoch{taken}")
    epochs = max(train.epochs, min(_MOST_EPOCHS, math.ceil(_UPDATES / each)))
    times = 1.0 if train.scale else batch / train.batch  # by train.scale it follows the batch by itself
    rate, steps = train.solver["learning_rate"] * times, _schedule(found, base, epochs)
    if steps is None:  # it speaks of the base's own epochs
        epochs = train.epochs
    yield Line(f"  epochs: {epochs}", f"{epochs * each:,} iterations in all")
    scaled = "" if times == 1.0 else f" by {batch} / {train.batch}, as the batch"
    why = f"{Path(base.extends).stem}'s{scaled}; try others"
    yield Line(f"  solver: {{learning_rate: {text_of(float(f'{rate:.2g}'))}}}", why)
    if steps:
        yield Line(f"  schedule: {{type: step, at: {steps}}}", "the rate is divided after these epochs")


def _schedule(found: Found, base: Base, epochs: int) -> list[int] | None:
    """Epochs for the schedule; empty where the base's has none, None where it has some that cannot be moved."""
    schedule = base.spec.train.schedule
    if schedule["type"] == "step":
        return sorted({max(1, round(at * epochs / base.spec.train.epochs)) for at in schedule["at"]})
    if schedule["type"] == "plateau" and found.dataset.val is None:
        return [max(1, epochs * 2 // 3), max(1, epochs * 5 // 6)]
    return [] if schedule["type"] in ("constant", "plateau") else None


def _batch(found: Found, base: Base) -> tuple[int, int, int | None]:
    """The batch, the bytes that a run with it takes, and those that the machine has."""
    batch, have = base.spec.train.batch, host_memory()
    while batch > _LEAST_BATCH and found.images // batch < _LEAST_ITERATIONS:
        batch //= 2
    batch = min(batch, found.images)
    needs = _needed(base, found, batch)
    while have is not None and needs > have // 2 and batch > 1:
        batch //= 2
        needs = _needed(base, found, batch)
    return batch, needs, have


def _needed(base: Base, found: Found, batch: int) -> int:
    """Bytes of a run on CPUs."""
    spec = settled(base.spec, len(found.dataset.classes))
    programs = [lowered(build(spec, phase, batch), spec, "cpu") for phase in ("train", "eval")]
    return sum(row["total"] for row in memory(programs).values())


def _data(path: Path, found: Found, base: Base) -> Iterator[Line]:
    side, data, dataset = base.side, base.spec.data, found.dataset
    yield Line("data:")
    parts = {**found.source, "path": _nearest(found.source["path"], path.parent)}
    yield Line(f"  source: {{{', '.join(f'{key}: {text_of(value)}' for key, value in parts.items())}}}")
    yield Line(f"  classes: {len(dataset.classes)}", "for info and validate; run counts them itself")
    if dataset.is_held_out:
        yield Line(f"  split: {held_out.USUAL}", "no validation images: a share of each class")
    resize = _resize(found.sizes, side, data)
    larger = "; smaller ones are enlarged" if found.sizes.least < (resize or side) else ""
    if resize:
        yield Line(f"  resize: {resize}", f"short side; training sees any {side} x {side} of it{larger}")
        yield Line(f"  crop: {side}")
    if not data.mirror:
        yield Line("  mirror: true", "false where left and right matter, as in writing")


def _resize(sizes: Survey, side: int, data: DataSpec) -> int | None:
    """The short side to resize to: the base's, or an eighth more than the net takes where images are larger."""
    if data.resize:
        return data.resize
    return side * 9 // 8 if sizes.median > side else None


def _nearest(source: str, folder: Path) -> str:
    """The path of the images, relative to the spec's folder where they lie below it."""
    try:
        return str(Path(source).relative_to(folder.absolute()))
    except ValueError:
        return source


def _check(text: str, path: Path, found: Found) -> None:
    """Raise NetspecError where ``validate`` or ``run`` would refuse the spec."""
    spec = loads(text, str(path))
    check(spec)
    counts = found.images, len(found.dataset.val or ()), len(found.dataset.classes)
    if problems := list(problems_with(spec, Images(*counts, found.dataset.where), counts[-1])):
        raise SpecError(problems)
