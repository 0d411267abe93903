"""The images of a split with their classes: what lies below its folder, in an order that names alone decide.

The class of an image is the first folder below the split, however deep the image lies in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from netspec.data.index.classes import NESTED, canonical, class_name, describe_unknown, listed, numbers_by_name
from netspec.data.index.filenames import SPLIT_NAMES, SUFFIXES
from netspec.data.index.image_table import Image, ImageTable
from netspec.data.index.label_file import LABELS, REMEDY, read_labels
from netspec.data.index.passed_over import STRAY, UNNAMED, UNUSED, PassedOver
from netspec.data.index.tree import Tree, Walk
from netspec.data.source import BrokenImage, Split
from netspec.errors import NetspecError
from netspec.machine.tasks import task
from netspec.units import many

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Labels = NDArray[np.int32]
    MakeSplit = Callable[[ImageTable, Labels], Split]
    FindLabels = Callable[[], dict[bytes, bytes] | None]


class UnlabelledError(NetspecError):
    """Images are there, but nothing says of which class each is."""


@dataclass
class Listing:
    """A split's images before they have labels.

    ``numbers`` holds the index in ``classes`` of each image, int32 (images,), 0 where there are none; ``with_labels``
    makes the split of an array of labels like it. ``empty`` names class folders that hold no image.
    """

    where: str
    classes: tuple[str, ...]
    numbers: Labels
    with_labels: Callable[[Labels], Split]
    empty: Sequence[str] = ()
    passed: PassedOver = field(default_factory=PassedOver)
    notes: Sequence[str] = ()


def assign_labels(listing: Listing, classes: Sequence[str], whose: str) -> Split:
    """The split with labels that are indices in ``classes``; as they are where either has no classes.

    Raises NetspecError naming classes that are not among them; ``whose`` says what has those. It is an
    UnlabelledError where all images lie in one folder, as in ``val/images/``, which then is hardly a class.
    """
    import numpy as np

    if not classes or not listing.classes:
        return _of(listing, listing.numbers)
    known = numbers_by_name(classes)
    unknown = [name for name in listing.classes if name not in known]
    if unknown:
        raise _unknown(listing, describe_unknown(unknown, list(known)), known, whose)
    numbers = np.array([known[name] for name in listing.classes], np.int32)
    return _of(listing, numbers[listing.numbers])


def _of(listing: Listing, labels: Labels) -> Split:
    split = listing.with_labels(labels)
    split.where = listing.where
    return split


def _unknown(listing: Listing, told: str, known: Collection[str], whose: str) -> NetspecError:
    nested = nested_hint(listing.with_labels(listing.numbers), known)
    if nested is None and len(listing.classes) == 1:
        return UnlabelledError(f"{listing.where}: the only folder is not a class of {whose}: {told}; {REMEDY}")
    none = not set(listing.classes) & set(known)
    has = f"; those are {listed(list(known))}" if none else ""
    remedy = nested or "leave them out, or rename them"
    return NetspecError(f"{listing.where}: not classes of {whose}: {told}{has}; {remedy}")


def nested_hint(split: Split, classes: Collection[str]) -> str | None:
    """A hint where those classes are the folders that the images lie in, and not the first below the split."""
    inner = {split.name(i).rpartition("/")[0].rpartition("/")[2] for i in range(len(split))}
    if not inner <= set(classes):
        return None
    return f"{NESTED}: put the folders that are meant to be classes there, or train anew with the classes found"


def missing_classes(listing: Listing, classes: Sequence[str]) -> list[str]:
    """The classes of which the listing has no image."""
    found = set(listing.classes)
    return [name for name in numbers_by_name(classes) if name not in found]


def list_images(walk: Walk, make: MakeSplit, labels: FindLabels = lambda: None) -> Listing:
    """List what lies below a split's folder; ``make`` makes the split of images and labels.

    Where the walk wants val_annotations.txt and finds it, that file gives the classes; where no image lies in a class
    folder, those that ``labels`` finds. Raises NetspecError where no image is found, or none that has a class.
    """
    by_folder, unclassified, classes = _collect(walk)
    if classes is None and unclassified and not any(by_folder.values()):
        classes = labels()
    full = {class_name(folder) for folder, images in by_folder.items() if images}
    empty = sorted({class_name(folder) for folder in by_folder} - full)
    if classes is not None:
        every = [image for images in (*by_folder.values(), unclassified) for image in images]
        by_folder = _by_label_file(every, classes, walk)
    else:
        _pass_over(unclassified, walk, any(by_folder.values()))
    if not any(by_folder.values()):
        suffixes = " ".join(sorted(suffix.decode() for suffix in SUFFIXES))
        looked = f"looked for CLASS/FILE with one of the suffixes {suffixes}"
        raise NetspecError("; ".join(filter(None, [f"{walk.where}: no images found", walk.passed.line(), looked])))
    return _in_order(by_folder, empty, walk, make)


def _collect(walk: Walk) -> tuple[dict[bytes, ImageTable], list[Image], dict[bytes, bytes] | None]:
    """Images by class folder, images in none, and the label file's classes by file name, if there is one."""
    by_folder: dict[bytes, ImageTable] = {}
    unclassified: list[Image] = []
    classes = None
    with task("finding images") as tell:
        for entry in walk.top():
            if entry.kind == "folder":
                by_folder[entry.name] = ImageTable(list(walk.images(entry)))
                tell(len(by_folder[entry.name]))
            elif entry.name == walk.wanted:
                classes = _read_labels(walk.tree, entry.node, walk.where)
            else:
                unclassified.append((entry.name, entry.node))
    return by_folder, unclassified, classes


def _read_labels(tree: Tree, file: Any, where: str) -> dict[bytes, bytes]:
    try:
        return read_labels(tree.read(file), where)
    except (OSError, BrokenImage) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise NetspecError(f"{where}/{LABELS.decode()}: cannot be read: {reason}") from error


def _by_label_file(images: list[Image], classes: dict[bytes, bytes], walk: Walk) -> dict[bytes, ImageTable]:
    by_class: dict[bytes, list[Image]] = {}
    unused = dict.fromkeys(classes)
    for path, node in images:
        key = path if path in classes else path.rpartition(b"/")[2]
        unused.pop(key, None)
        if key in classes:
            by_class.setdefault(classes[key], []).append((path, node))
        else:
            walk.passed.add(UNNAMED, walk.prefix + path)
    for key in unused:
        walk.passed.add(UNUSED, key)
    if images and not by_class:
        raise NetspecError(f"{walk.where}: {_list_name(walk)} names none of the images there")
    return {name: ImageTable(images) for name, images in by_class.items()}


def _list_name(walk: Walk) -> str:
    return LABELS.decode() if any(entry.name == walk.wanted for entry in walk.top()) else "the list of classes"


def _pass_over(unclassified: list[Image], walk: Walk, others: bool) -> None:
    """Count images that lie in no class folder; an error where there are no others."""
    if unclassified and not others:
        count = many(len(unclassified), "image")
        remedy = REMEDY if walk.wanted else "put them in folders named by their class"
        raise UnlabelledError(f"{walk.where}: {count} in no class folder, so of unknown class; {remedy}")
    for path, _ in unclassified:
        walk.passed.add(STRAY, walk.prefix + path)


def _in_order(by_folder: dict[bytes, ImageTable], empty: list[str], walk: Walk, make: MakeSplit) -> Listing:
    """By class and path, in the composed form of Unicode, so that a disk and an archive of it agree."""
    import numpy as np

    folders: dict[str, list[bytes]] = {}
    for folder in sorted((folder for folder in by_folder if by_folder[folder]), key=canonical):
        folders.setdefault(class_name(folder), []).append(folder)
    notes = [*_merged(by_folder), *_alike(folders)]
    images, counts = ImageTable(), []
    for of_class in folders.values():
        counts.append(-len(images))
        images.add(sorted((image for folder in of_class for image in by_folder.pop(folder)), key=_sort_key))
        counts[-1] += len(images)
    if not walk.wanted:
        _refuse_splits(tuple(folders), walk.where)
        notes += _only_one(tuple(folders), images, walk.where)
    numbers = np.repeat(np.arange(len(folders), dtype=np.int32), counts)
    return Listing(walk.where, tuple(folders), numbers, partial(make, images), empty, walk.passed, notes)


def _sort_key(image: Image) -> tuple[bytes, bytes]:
    return canonical(image[0]), image[0]


def _merged(by_folder: Iterable[bytes]) -> list[str]:
    """A note where several folders are one class."""
    folders = Counter(class_name(folder) for folder in by_folder)
    names = [name for name, count in folders.items() if count > 1]
    return [f"folders that differ only in their form of Unicode are one class: {listed(names)}"] if names else []


def _alike(classes: Iterable[str]) -> list[str]:
    """A note where classes differ in what a person does not see."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault("".join(name.casefold().split()), []).append(name)
    groups = [listed(names) for names in alike.values() if len(names) > 1]
    return [f"classes that differ only in capitals or spaces: {'; '.join(groups)}"] if groups else []


def _refuse_splits(classes: Sequence[str], where: str) -> None:
    """Raise NetspecError where all classes are called as splits are somewhere: Train and Val would be learned."""
    if all(name.casefold() in SPLIT_NAMES for name in classes):
        remedy = "call the splits train and val, or name their folders in the spec (data.source: train, val)"
        raise NetspecError(f"{where}: {listed(classes)} would be all its classes ({NESTED}); {remedy}")


def _only_one(classes: Sequence[str], images: ImageTable, where: str) -> list[str]:
    """A note where the only class looks like a folder of class folders."""
    if len(classes) != 1:
        return []
    inner = {path.split(b"/")[1] if path.count(b"/") > 1 else b"" for path, _ in images}
    if len(inner) < 2 or b"" in inner:
        return []
    return [f"{where}: all images are of one class, '{classes[0]}', the only folder there; {NESTED}"]
