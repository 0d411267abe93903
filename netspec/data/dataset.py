"""A data set that is open: its splits with their labels, listed from a source, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from netspec.data.held_out import hold_out
from netspec.data.index.classes import listed
from netspec.data.index.filenames import LAYOUTS
from netspec.data.index.listing import Listing, UnlabelledError, assign_labels, missing_classes
from netspec.data.index.passed_over import PassedOver
from netspec.data.known_sources import make_source
from netspec.data.settings import DataSpec
from netspec.data.source import Source, Split, SplitName
from netspec.errors import NetspecError
from netspec.units import many, percent


@dataclass(frozen=True)
class Dataset:
    """A training split, perhaps a validation split, and the classes that both have.

    ``classes`` are the names of the training split's classes in the order of their indices; ``type`` is the source's in
    the spec, ``where`` its place, ``notes`` are lines for people on what was found. ``words`` holds what people call
    classes, by name, where the source says so. ``is_held_out``: the validation split is a part of the training images,
    see netspec.data.held_out.
    """

    type: str
    where: str
    classes: tuple[str, ...]
    train: Split
    val: Split | None
    notes: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    is_held_out: bool = False


@dataclass(frozen=True)
class EvaluationSet:
    """One split, with labels that are indices in a trained network's classes, and lines for people on it."""

    split: Split
    notes: tuple[str, ...] = ()


def open_dataset(data: DataSpec, seed: int) -> Dataset:
    """List the images to train with, and those to validate with.

    Validation images without classes are left out, with a note, unless the spec names their folder; where there are
    none, ``data.split`` holds some out of the training images. Raises NetspecError where the source is not as the spec
    says, for classes without training images, and for validation images of other classes.
    """
    source = make_source(data, seed)
    train = _training(source)
    found = _validation(source, data, train.classes, "the training images")
    images, val = assign_labels(train, train.classes, ""), found.split
    told = [*found.notes, *_unused(source, data)] if val else found.notes
    is_held_out = False
    if val is None and data.split:
        images, val, held = _hold_out(images, data, train.classes, source.where)
        is_held_out, told = val is not None, [*told, *held]
    listings = [train, found.listing] if found.listing else [train]
    notes = [_counted(source, images, val, train.classes), *train.notes, *told, *_passed_over_note(listings)]
    words = source.class_words()
    return Dataset(source.type, source.where, train.classes, images, val, tuple(notes), words, is_held_out)


def open_split(data: DataSpec, seed: int, split: SplitName, classes: Sequence[str]) -> EvaluationSet:
    """List one split's images for a network of those classes; it may lack some of them.

    Nothing else of the source is looked at, unless ``data.split`` holds images out. Raises NetspecError where there is
    no such split, and for images of classes that the network does not know.
    """
    source = make_source(data, seed)
    if data.split and _validation(source, data, classes, "the network").split is None:
        return _open_part(source, data, split, classes)
    listing = source.list_split(split, alone=not data.split)
    if listing is None:
        raise NetspecError(f"{source.where}: no validation images; --split train evaluates the training images")
    images = assign_labels(listing, classes, "the network")
    counted = f"{_many_images(images, split)} {_of_what(listing.classes)} from {_from(source)}"
    told = [*listing.notes, *_missing_note(listing, classes, "the network's"), *_passed_over_note([listing])]
    return EvaluationSet(images, (counted, *told))


def _training(source: Source) -> Listing:
    train = source.list_split("train")
    if train is None:
        raise NetspecError(f"{source.where}: no training images")
    if train.empty:
        hint = "put images there or remove the empty folders"
        raise NetspecError(f"{train.where}: no images in {listed(train.empty)}; {hint}")
    return train


class _Validation(NamedTuple):
    """A source's own validation split, if it has one that can be used, and lines for people."""

    split: Split | None
    listing: Listing | None
    notes: Sequence[str] = ()


def _validation(source: Source, data: DataSpec, classes: Sequence[str], whose: str) -> _Validation:
    try:
        listing = source.list_split("val")
        if listing is None:
            return _Validation(None, None)
        split = assign_labels(listing, classes, whose)
    except UnlabelledError as error:
        if data.source.get("val"):  # it is meant to be used
            raise
        return _Validation(None, None, [f"no validation: {error}"])
    return _Validation(split, listing, [*listing.notes, *_missing_note(listing, classes, f"{whose}'")])


def _open_part(source: Source, data: DataSpec, split: SplitName, classes: Sequence[str]) -> EvaluationSet:
    """The images that a run has held out, or the others, with labels that are indices in the network's classes."""
    listing = _training(source)
    every = assign_labels(listing, classes, "the network")
    train, val, notes = _hold_out(every, data, classes, source.where)
    images = train if split == "train" else val
    if images is None:
        raise NetspecError(f"{source.where}: {notes[0]}; --split train evaluates the training images")
    counted = f"{_many_images(images, split)} {_of_what(listing.classes)} from {_from(source)}"
    return EvaluationSet(images, (counted, *notes, *listing.notes, *_passed_over_note([listing])))


def _hold_out(
    images: Split, data: DataSpec, classes: Sequence[str], where: str
) -> tuple[Split, Split | None, list[str]]:
    """The images to train with, those held out of them, None where no class has two, and lines for people."""
    assert data.split is not None
    kept, held = hold_out(images, data.split, data.split_seed)
    if not len(held):
        said = "no class has two images" if classes else "there are no two images"
        return images, None, [f"{said}, so none are held out for validation ({where})"]
    train, val = images.part(kept), images.part(held)
    train.where, val.where = images.where, f"{images.where} (held out)"
    share = percent(data.split, 0 if float(data.split * 100).is_integer() else 1)
    each = " of each class" if classes else ""
    notes = [f"no validation images there: {share}{each}, {many(len(val), 'image')}, are held out (data.split)"]
    missing = sorted(set(train.labels.tolist()) - set(val.labels.tolist()))
    if missing and classes:
        names = listed([classes[number] for number in missing])
        notes.append(f"{many(len(missing), 'class')} with one image, which is trained on, not held out: {names}")
    return train, val, notes


def _unused(source: Source, data: DataSpec) -> list[str]:
    return [f"data.split holds nothing out: {source.where} has validation images"] if data.split else []


def unused_outputs(dataset: Dataset, outputs: int | None) -> str | None:
    """A note where the network has more outputs than there are classes; None where it does not say how many it has."""
    classes = len(dataset.classes)
    if outputs is None or not classes or classes >= outputs:
        return None
    unused = f"outputs {classes} to {outputs - 1} are" if classes + 1 < outputs else f"output {classes} is"
    return f"{many(classes, 'class')} for {many(outputs, 'output')}: {unused} never the answer"


def _counted(source: Source, train: Split, val: Split | None, classes: Sequence[str]) -> str:
    validation = f"{len(val):,} validation" if val is not None else "no validation"
    counts = f"{len(train):,} training and {validation} images {_of_what(classes)}"
    if source.type == "moving":
        return f"{counts}, drawn by the program; real ones are animations (GIF, PNG, WebP): --data DIR"
    if source.type == "placed":
        return f"{counts}, drawn by the program; real ones: --data DIR (DIR/train.csv, DIR/val.csv)"
    if source.type == "generated":
        return f"{counts}, drawn by the program; real ones: --data DIR ({LAYOUTS})"
    return f"{counts} from {_from(source)}"


def _many_images(images: Split, split: SplitName) -> str:
    return many(len(images), f"{'training' if split == 'train' else 'validation'} image")


def _from(source: Source) -> str:
    return source.where if source.where == source.type else f"{source.where} ({source.type})"


def _of_what(classes: Sequence[str]) -> str:
    return f"of {many(len(classes), 'class')}" if classes else "with numbers to be predicted"


def _missing_note(listing: Listing, classes: Sequence[str], whose: str) -> list[str]:
    names = missing_classes(listing, classes) if listing.classes else []
    count = f"{len(names):,} of {whose} {many(len(classes), 'class')}"
    return [f"{listing.where}: no images of {count}: {listed(names)}"] if names else []


def _passed_over_note(listings: Sequence[Listing]) -> list[str]:
    passed = PassedOver()
    for listing in listings:
        passed += listing.passed
    line = passed.line()
    return [line] if line else []
