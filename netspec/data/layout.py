"""Which source ``--data DIR`` means: what is looked for in a folder, and what is said when it is not there."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from netspec.data.index.archive_names import PATTERNS, archives_named
from netspec.data.index.cifar_files import find_cifar
from netspec.data.index.filenames import LAYOUTS, VALIDATION_NAMES, is_hidden, is_image_name, is_system
from netspec.data.index.label_file import LABELS, REMEDY
from netspec.data.index.tree import kind_of
from netspec.data.shards.shard_index import INDEX
from netspec.errors import NetspecError, NoSuchFile, printable

_NESTED = 3
"""How deep below a class folder an image is looked for."""
_MOST_LOOKED_AT = 10_000
_LAYOUTS_EVALUATED = "DIR/val/CLASS/*.jpg, DIR/test/CLASS/*.jpg or DIR/CLASS/*.jpg, or DIR/val.tar or test.tar"


def source_from_path(path: str | Path, evaluated: bool = False) -> Mapping[str, str]:
    """The source description, as in ``data: {source: ...}``, for a path given by a user.

    Takes, in this order: CIFAR as it is given out; a tar archive; a prepared set; a folder with ``train/``; one with
    ``train.tar``, or several for a split; a folder of class folders, which is training data, and with its neighbours
    where it is called ``train``; a folder with a single tar archive.
    What is to be ``evaluated`` may be a validation split alone, or its class folders.
    Raises NetspecError, saying what was looked for and what is there.
    """
    folder = Path(path).expanduser().absolute()
    if folder.exists() and find_cifar(folder):
        return {"type": "cifar", "path": str(folder)}
    if folder.is_file():
        return {"type": "tar", "path": str(folder)}
    if not folder.is_dir():
        raise NoSuchFile(f"{printable(path)}: no such folder or archive (expected {LAYOUTS})")
    found = (
        _split_layout(folder, evaluated)
        or _class_folders(folder, evaluated, 0)
        or (None if _other_layout(folder) else _class_folders(folder, evaluated, _NESTED))
        or _lone_archive(folder)
    )
    if found is None:
        looked = _LAYOUTS_EVALUATED if evaluated else LAYOUTS
        raise NetspecError(f"{printable(path)}: no images found; looked for {looked}; {_what_is_there(folder)}")
    return found


def table_at(path: str | Path) -> Mapping[str, str] | None:
    """The source of a folder with tables of images and numbers, for a network that predicts numbers; else None."""
    folder = Path(path).expanduser().absolute()
    there = any((folder / f"{split}.csv").is_file() for split in ("train", "val"))
    return {"type": "table", "path": str(folder)} if there else None


def _split_layout(folder: Path, evaluated: bool = False) -> Mapping[str, str] | None:
    names = ("train", *VALIDATION_NAMES) if evaluated else ("train",)
    if any(_has_arrays(folder / name) for name in names if name in ("train", "val")):
        return {"type": "arrays", "path": str(folder)}
    if (folder / INDEX).is_file() or _archives_of_classes(folder / "train"):
        return {"type": "tar", "path": str(folder)}
    if any((folder / name).is_dir() for name in names):
        return {"type": "folder", "path": str(folder)}
    if any(archives_named(folder, pattern.format(name)) for pattern in PATTERNS for name in names):
        return {"type": "tar", "path": str(folder)}
    return None


def _has_arrays(folder: Path) -> bool:
    return folder.is_dir() and any(entry.suffix == ".npy" for entry in _visible(folder))


def _archives_of_classes(folder: Path) -> bool:
    """Whether archives lie in it, and no folders: ILSVRC's training archive, unpacked once."""
    return bool(archives_named(folder, "*.tar")) and not any(entry.is_dir() for entry in _visible(folder))


def _class_folders(folder: Path, evaluated: bool, depth: int) -> Mapping[str, str] | None:
    """The folder as one of class folders, where an image lies in one of them, at most so deep below it."""
    labelled = evaluated and (folder / os.fsdecode(LABELS)).is_file()
    if not labelled and not any(_holds_image(entry, depth) for entry in _visible(folder) if entry.is_dir()):
        return None
    if evaluated:
        return {"type": "folder", "path": str(folder)}
    if folder.name == "train":
        return {"type": "folder", "path": str(folder.parent)}
    return {"type": "folder", "path": str(folder), "train": "."}


def _lone_archive(folder: Path) -> Mapping[str, str] | None:
    archives = [entry for entry in _visible(folder) if entry.suffix == ".tar"]
    return {"type": "tar", "path": str(archives[0])} if len(archives) == 1 else None


def _holds_image(folder: Path, depth: int) -> bool:
    return any(map(is_image_name, itertools.islice(_file_names(os.fsencode(folder), depth), _MOST_LOOKED_AT)))


def _file_names(folder: bytes, depth: int) -> Iterator[bytes]:
    """Names of files in a folder and in those below it, and an empty one for each folder."""
    below = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_hidden(entry.name) or is_system(entry.name):
                    continue
                is_folder = kind_of(entry) == "folder"
                below += [entry.path] * is_folder
                yield b"" if is_folder else entry.name
    except OSError:
        return
    for path in below if depth else ():
        yield from _file_names(path, depth - 1)


def _visible(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise NetspecError(f"{printable(folder)}: cannot be listed: {error.strerror}") from error
    return [entry for entry in entries if not is_hidden(name := os.fsencode(entry.name)) and not is_system(name)]


def _other_layout(folder: Path) -> bool:
    """Whether it holds a validation split, or data sets: then its folders are no classes."""
    return any((folder / name).is_dir() for name in VALIDATION_NAMES) or bool(_fitting(folder))


def _fitting(folder: Path) -> list[Path]:
    """The folders in it that would do."""
    return [entry for entry in _visible(folder) if entry.is_dir() and _split_layout(entry)]


def _what_is_there(folder: Path) -> str:
    fitting = [printable(entry) for entry in _fitting(folder)]
    if fitting:
        return "did you mean " + " or ".join(fitting[:5]) + "?"
    entries = _visible(folder)
    if any(is_image_name(os.fsencode(entry.name)) for entry in entries):
        return f"its images lie in no class folders; {REMEDY}"
    names = [printable(entry.name) + "/" * entry.is_dir() for entry in entries[:8]]
    return "it holds " + (", ".join(names) + ", ..." * (len(entries) > 8) if names else "nothing")
