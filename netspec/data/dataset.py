"""A data set that is open: its splits with their labels, listed from a source, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from netspec.data.index.classes import listed
from netspec.data.index.filenames import LAYOUTS
from netspec.data.index.listing import Listing, UnlabelledError, assign_labels, missing_classes
from netspec.data.index.passed_over import PassedOver
from netspec.data.settings import DataSpec
from netspec.data.source import Source, Split, SplitName
from netspec.data.sources import make_source
from netspec.errors import NetspecError
from netspec.units import many


@dataclass(frozen=True)
class Dataset:
    """A training split, perhaps a validation split, and the classes that both have.

    ``classes`` are the names of the training split's classes in the order of their indices; ``type`` is the source's in
    the spec, ``where`` its place, ``notes`` are lines for people on what was found. ``words`` holds what people call
    classes, by name, where the source says so.
    """

    type: str
    where: str
    classes: tuple[str, ...]
    train: Split
    val: Split | None
    notes: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationSet:
    """One split, with labels that are indices in a trained network's classes, and lines for people on it."""

    split: Split
    notes: tuple[str, ...] = ()


def open_dataset(data: DataSpec, seed: int) -> Dataset:
    """List the images to train with, and those to validate with.

    Validation images without classes are left out, with a note, unless the spec names their folder. Raises NetspecError
    where the source is not as the spec says, for classes without training images, and for validation images of other
    classes.
    """
    source = make_source(data, seed)
    train = source.list_split("train")
    if train is None:
        raise NetspecError(f"{source.where}: no training images")
    if train.empty:
        hint = "put images there or remove the empty folders"
        raise NetspecError(f"{train.where}: no images in {listed(train.empty)}; {hint}")
    listings, val, val_notes = [train], None, []
    try:
        listing = source.list_split("val")
        if listing is not None:
            val = assign_labels(listing, train.classes, "the training images")
            val_notes = [*listing.notes, *_missing_note(listing, train.classes, "the training images'")]
            listings.append(listing)
    except UnlabelledError as error:
        if data.source.get("val"):  # it is meant to be used
            raise
        val_notes = [f"no validation: {error}"]
    images = assign_labels(train, train.classes, "")
    notes = [_counted(source, images, val, train.classes), *train.notes, *val_notes, *_passed_over_note(listings)]
    words = source.class_words()
    return Dataset(source.type, source.where, train.classes, images, val, tuple(notes), words)


def open_split(data: DataSpec, seed: int, split: SplitName, classes: Sequence[str]) -> EvaluationSet:
    """List one split's images for a network of those classes; it may lack some of them.

    Nothing else of the source is looked at. Raises NetspecError where there is no such split, and for images of classes
    that the network does not know.
    """
    source = make_source(data, seed)
    listing = source.list_split(split, alone=True)
    if listing is None:
        raise NetspecError(f"{source.where}: no validation images; --split train evaluates the training images")
    images = assign_labels(listing, classes, "the network")
    kind = "training" if split == "train" else "validation"
    counted = f"{many(len(images), f'{kind} image')} {_of_what(listing.classes)} from {_from(source)}"
    told = [*listing.notes, *_missing_note(listing, classes, "the network's"), *_passed_over_note([listing])]
    return EvaluationSet(images, (counted, *told))


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
