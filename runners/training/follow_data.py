"""What of a spec follows the images: the number of classes, and the images that are held out for validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from netspec.data import held_out
from netspec.data.dataset import Dataset, open_dataset
from netspec.errors import NetspecError
from netspec.planning import check
from netspec.planning.trainable import drawn_images
from netspec.spec.class_counts import following, settled, stated_count
from netspec.spec.types import Spec
from netspec.units import many


@dataclass(frozen=True, slots=True)
class Opened:
    """A spec as its images make it, with numbers for ``classes``; the open set, and lines for people on both."""

    spec: Spec
    source: Dataset
    notes: tuple[str, ...]


def open_images(spec: Spec, own: bool) -> Opened:
    """Open a spec's images. ``own``: they were named beside the spec (``--data``), and so have the usual share held out
    for validation where they have no validation images and the spec does not say ``data.split``.

    Raises NetspecError as ``open_dataset`` does, and where a layer follows classes that are not there; SpecError where
    the network does not hold with as many.
    """
    split = held_out.USUAL if own and spec.data.split is None else spec.data.split
    source = open_dataset(replace(spec.data, split=split), spec.train.seed)
    count = len(source.classes)
    if not count and (places := following(spec)):
        raise NetspecError(f"{', '.join(places)}: 'classes', and {source.where} has none; write a number")
    said = spec.data.classes
    data = replace(spec.data, split=split if source.is_held_out else spec.data.split, classes=said and count)
    found = replace(settled(spec, count), data=data)
    if found.layers != settled(spec).layers:
        check(found)
    missing = [_NO_VALIDATION] if source.val is None and drawn_images(spec) is None else []
    missing += [_ONE_CLASS] if count == 1 else []
    return Opened(found, source, (*source.notes, *missing, *_told(spec, count)))


_NO_VALIDATION = "without validation images, errors are those of training batches; data.split holds some images out"

_ONE_CLASS = "all images are of one class: there is nothing to tell apart, and nothing will be learned"


def _told(spec: Spec, classes: int) -> list[str]:
    """A line where the images have more or fewer classes than was stated."""
    places, stated = following(spec), stated_count(spec.data)
    if not places or stated == classes:
        return []
    said = f", not {stated:,} as data.classes says" if stated else ""
    return [f"{many(classes, 'class')}{said}: {', '.join(places)} = {classes:,}"]


def as_recorded(spec: Spec, own: bool, recorded: Mapping[str, Any], classes: int) -> Spec:
    """The spec as a run of it would have recorded it whose canonical spec and number of classes are these."""
    data = spec.data
    if own and data.split is None and recorded.get("data", {}).get("split") == held_out.USUAL:
        data = replace(data, split=held_out.USUAL)
    return replace(settled(spec, classes), data=replace(data, classes=data.classes and classes))
