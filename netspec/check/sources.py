"""The contract suite of data sources: named checks that each registered one gets, on the small sets of ``samples``."""

from __future__ import annotations

import pickle
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netspec.check.augmentations import check_same
from netspec.check.compare import Failed, Skipped
from netspec.check.declared import check_attribute, check_docs
from netspec.data.dataset import Dataset, open_dataset
from netspec.data.index.listing import Listing
from netspec.data.known_sources import make_source
from netspec.data.pipeline import Pipeline
from netspec.data.settings import DataSpec, More
from netspec.data.source import Source, Split, SplitName
from netspec.errors import NetspecError, printable

SPLITS: tuple[SplitName, ...] = ("train", "val")
_SHAPE, _FRAMES, _SEED, _BATCH = (16, 12, 3), 2, 7, 4


class SourceSubject:
    """A registered source, and the sets that its ``samples`` make, in a folder that goes with this object."""

    def __init__(self, name: str, cls: type[Source]) -> None:
        self.name, self.cls = name, cls

    @cached_property
    def data(self) -> list[DataSpec]:
        """A setting of ``data`` for each sample."""
        folder = tempfile.mkdtemp(prefix="netspec-samples-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return [DataSpec({"type": self.name, **attrs}, resize=20) for attrs in self.cls.samples(Path(folder))]

    def listings(self) -> Iterator[tuple[DataSpec, SplitName, Listing]]:
        """Each split of each sample that there is, listed."""
        for data in self.data:
            source = make_source(data, _SEED)
            for split in SPLITS:
                if (listing := source.list_split(split)) is not None:
                    yield data, split, listing

    def splits(self) -> Iterator[Split]:
        """Each of them with its labels."""
        for _, _, listing in self.listings():
            yield listing.with_labels(listing.numbers)


def check_schema(subject: SourceSubject) -> None:
    """Each attribute's schema is valid and refuses wrong values, and the samples fit."""
    for name, schema in subject.cls.attrs.items():
        check_attribute(name, schema)
    needed = [name for name, schema in subject.cls.attrs.items() if "default" not in schema]
    if not subject.data:
        raise Failed("samples() gives no attributes")
    for data in subject.data:
        if missing := [name for name in needed if name not in data.source]:
            raise Failed(f"samples() leaves out '{missing[0]}', which has no default: have it write a small set")
        make_source(data, _SEED)


def check_listing(subject: SourceSubject) -> None:
    """There are training images; classes have distinct names, which validation shares; each image's is one of them."""
    for data, split, listing in subject.listings():
        numbers, classes = listing.numbers, listing.classes
        if numbers.dtype != np.int32 or numbers.ndim != 1 or not len(numbers):
            told = f"{numbers.dtype} {numbers.shape}"
            raise Failed(f"{split}: numbers must be int32 (images,), of at least one image, got {told}")
        if len(set(classes)) < len(classes) or not all(isinstance(name, str) and name for name in classes):
            raise Failed(f"{split}: names of classes must be texts that differ, got {classes}")
        if numbers.min() < 0 or numbers.max() >= max(1, len(classes)):
            raise Failed(f"{split}: an image has class {numbers.max()} of {len(classes)}, counted from 0")
        if classes and split == "val" and not set(classes) <= set(_training(data).classes):
            raise Failed("validation images are of classes that the training images lack")


def _training(data: DataSpec) -> Listing:
    listing = make_source(data, _SEED).list_split("train")
    if listing is None:
        raise Failed("list_split('train') gives None: a sample needs training images")
    return listing


def check_counts(subject: SourceSubject) -> None:
    """What ``counts`` says of a set, without looking at it, is what is listed."""
    asked = 0
    for data in subject.data:
        defaults = {name: one["default"] for name, one in subject.cls.attrs.items() if "default" in one}
        told = subject.cls.counts({**defaults, **{name: one for name, one in data.source.items() if name != "type"}})
        if told is None:
            continue
        train, val = _training(data), make_source(data, _SEED).list_split("val")
        found = len(train.numbers), 0 if val is None else len(val.numbers), len(train.classes)
        asked += 1
        if tuple(told) != found:
            raise Failed(f"counts() gives {tuple(told)}, listed are {found}: training, validation, classes")
    if not asked:
        raise Skipped("counts() says nothing: its files decide")


def check_names(subject: SourceSubject) -> None:
    """Each image has a name of its own, that can be printed."""
    for split in subject.splits():
        names = [split.name(i) for i in range(len(split))]
        if odd := [name for name in names if not name or printable(name) != name]:
            raise Failed(f"name() gives {odd[0]!r}: a text that can be printed is needed")
        if len(set(names)) < len(names):
            raise Failed(f"name() gives '{max(names, key=names.count)}' for several images")


def check_images(subject: SourceSubject) -> None:
    """An image is an encoded file, a PIL image, or frames where it says so; it is the same whenever it is read."""
    for split in subject.splits():
        for name in _pictured(split):
            images = split.of_input(name) if name else split
            found = [_told(images.read(i), subject.cls.sequences) for i in range(len(images))]
            again = [_told(images.read(i), subject.cls.sequences) for i in reversed(range(len(images)))]
            if found != again[::-1]:
                raise Failed("read() gives another image when it is asked again: the number decides alone")


def check_numbers(subject: SourceSubject) -> None:
    """Numbers in place of classes are finite, float32 (images, as many as ``numbers`` says)."""
    if subject.cls.numbers is None:
        raise Skipped("its images have classes")
    for split in subject.splits():
        found = split.numbers
        told = None if found is None else f"{found.dtype} {found.shape}"
        if found is None or found.dtype != np.float32 or found.ndim != 2 or len(found) != len(split):
            raise Failed(f"numbers gives {told}: float32 ({len(split)}, numbers of each image) is needed")
        if found.shape[1] != (subject.cls.numbers or found.shape[1]):
            raise Failed(f"numbers gives {told}, where the class declares numbers = {subject.cls.numbers}")
        if not np.isfinite(found).all():
            raise Failed("a number is not finite")


def check_again(subject: SourceSubject) -> None:
    """The attributes and the seed decide all: another object of the class lists and reads the same."""
    for first, second in zip(subject.splits(), subject.splits(), strict=True):
        if _content(first) != _content(second):
            raise Failed("two sources of the same attributes and seed have other images, names or labels")


def check_pickle(subject: SourceSubject) -> None:
    """A split that was sent to another process has the same images."""
    for split in subject.splits():
        before = _content(split)
        if _content(pickle.loads(pickle.dumps(split))) != before:
            raise Failed("a split that was pickled and unpickled has other images, names or labels")


def check_part(subject: SourceSubject) -> None:
    """Some of the images, in any order, are a split that has those."""
    for split in subject.splits():
        chosen = np.arange(len(split))[::-2]
        if _content(split.part(chosen)) != [_content(split)[i] for i in chosen]:
            raise Failed(f"part({chosen.tolist()}) has other images, names or labels than those")


def check_missing(subject: SourceSubject) -> None:
    """What is not there is told by NetspecError when it is listed, and not before."""
    places = [name for name, schema in subject.cls.attrs.items() if schema.get("x-netspec") == "path"]
    if not places:
        raise Skipped("it reads no files: no attribute is a path")
    for name in places:
        source = make_source(DataSpec({**subject.data[0].source, name: "/nowhere/at all"}), _SEED)
        try:
            source.list_split("train")
        except NetspecError:
            continue
        except Exception as error:
            raise Failed(f"{name}: a place that is not there raises {type(error).__name__}: {error}") from error
        raise Failed(f"{name}: a place that is not there has images")


def check_workers(subject: SourceSubject) -> None:
    """Any number of workers, and an epoch that is resumed, give the same bits."""
    for data in subject.data:
        source = open_dataset(data, _SEED)
        wanted = _batches(source, data, 0)
        for number, got in enumerate(_batches(source, data, 2)):
            check_same(got, wanted[number], "two workers give other bits than none")
        for number, got in enumerate(_batches(source, data, 0, start=1)):
            check_same(got, wanted[1 + number], "an epoch that is resumed gives other bits")


CHECKS: tuple[Callable[[Any], None], ...] = (
    check_docs,
    check_schema,
    check_listing,
    check_counts,
    check_names,
    check_images,
    check_numbers,
    check_again,
    check_pickle,
    check_part,
    check_missing,
    check_workers,
)
"""All checks, cheap ones first. Each returns, or raises Failed or Skipped with the reason."""


def _pictured(split: Split) -> list[str]:
    """The inputs that have images; the empty name where the source has images and labels."""
    if split.arrays is None:
        return [""]
    return [name for name, kind in split.arrays.items() if kind.dtype == "uint8" and len(kind.shape) > 1]


def _told(image: Any, sequences: bool | None) -> object:
    """What tells images apart. Raises Failed for what is none."""
    if isinstance(image, bytes):
        return image
    frames = image if isinstance(image, tuple) else (image,)
    if not frames or not all(hasattr(one, "tobytes") and hasattr(one, "mode") for one in frames):
        raise Failed(f"read() gives {type(image).__name__}: bytes of a file, a PIL image or a tuple of them is needed")
    if sequences is not None and isinstance(image, tuple) != sequences:
        raise Failed(f"read() gives {'frames' if isinstance(image, tuple) else 'one image'}, sequences is {sequences}")
    return [(one.mode, one.size, one.tobytes()) for one in frames]


def _content(split: Split) -> list[tuple[Any, ...]]:
    """Each image's name, label, numbers and content."""
    parts: list[Sequence[Any]] = [[split.name(i) for i in range(len(split))], split.labels.tolist()]
    if split.numbers is not None:
        parts.append(split.numbers.tolist())
    for name in _pictured(split):
        images = split.of_input(name) if name else split
        parts.append([_told(images.read(i), None) for i in range(len(images))])
    return list(zip(*parts, strict=True))


def _batches(source: Dataset, data: DataSpec, workers: int, start: int = 0) -> list[Mapping[str, NDArray[Any]]]:
    if not (names := _pictured(source.train)):
        raise Skipped("its samples have no images")
    first = source.train.of_input(names[0]) if names[0] else source.train
    frames = (_FRAMES,) if isinstance(first.read(0), tuple) else ()
    more, found = More(image=names[0]), list[Mapping[str, NDArray[Any]]]()
    with Pipeline(source.train, data, "train", _BATCH, (*frames, *_SHAPE), 3, workers, more) as pipeline:
        for batch in pipeline.epoch(1, start):
            found.append({"image": batch.image.copy(), "label": batch.label.copy()})
            batch.release()
    return found
