"""Lists of labels beside the images: ILSVRC's development kit, Caffe's ``val.txt`` with its ``synset_words.txt``."""

from __future__ import annotations

from pathlib import Path

from netspec.data.index.devkit import find_devkit, read_devkit
from netspec.errors import NetspecError, printable

_WORDS = ("synset_words.txt", "LOC_synset_mapping.txt")
_SYNSETS = ("synsets.txt", *_WORDS)


def listed_labels(folder: Path, split: str) -> dict[bytes, bytes] | None:
    """Class by file name, or by path below the split, of images that lie in no class folder; None without a list.

    Caffe's ``train.txt`` and ``val.txt`` have lines of a file and a number, which counts the lines of ``synsets.txt``
    or ``synset_words.txt``. Raises NetspecError for a list that cannot be understood.
    """
    numbered = folder / f"{split}.txt"
    if numbered.is_file():
        return _numbered(numbered, folder)
    kit = find_devkit(folder) if split == "val" else None
    return read_devkit(kit).labels() if kit is not None else None


def class_words(folder: Path) -> dict[str, str]:
    """What people call the classes, by name: of ``synset_words.txt``, else of the development kit if it can be read."""
    words = next((folder / name for name in _WORDS if (folder / name).is_file()), None)
    if words is not None:
        pairs = (line.partition(" ") for line in _lines(words))
        return {name: text.strip() for name, _, text in pairs if text.strip()}
    kit = find_devkit(folder)
    try:
        return read_devkit(kit).words if kit is not None else {}
    except NetspecError:  # of use to people only; where labels are to be had of it, it is told
        return {}


def _numbered(path: Path, folder: Path) -> dict[bytes, bytes]:
    synsets = next((folder / name for name in _SYNSETS if (folder / name).is_file()), None)
    if synsets is None:
        remedy = f"{' or '.join(_SYNSETS[:2])} beside it must name the classes, one a line"
        raise NetspecError(f"{printable(path)}: numbers classes, and {remedy}")
    classes = [line.split()[0].encode() for line in _lines(synsets)]
    found: dict[bytes, bytes] = {}
    for number, line in enumerate(_lines(path), 1):
        file, _, label = line.rpartition(" ")
        if not label.isdecimal() or not file:
            raise NetspecError(f"{printable(path)}:{number}: expected a file and the number of its class")
        if int(label) >= len(classes):
            raise NetspecError(f"{printable(path)}:{number}: class {label}, but {synsets.name} has {len(classes):,}")
        found[file.strip().encode("utf-8", "surrogateescape")] = classes[int(label)]
    return found


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    except OSError as error:
        raise NetspecError(f"{printable(path)}: cannot be read: {error.strerror}") from error
    return [line for line in text.splitlines() if line.strip()]
