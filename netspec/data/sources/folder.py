"""Images in class folders: DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import text
from netspec.data.listing import (
    VALIDATION_NAMES,
    Names,
    class_names,
    in_class_order,
    is_image_name,
    label_array,
    refuse_empty_classes,
)
from netspec.data.source import Source, Split, printable, read_regular_file
from netspec.errors import NetspecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DEEPEST = 16


class FolderSplit(Split):
    """The image files below one folder, in the order of their classes and names."""

    def __init__(self, root: Path, paths: list[bytes], labels: NDArray[np.int32]) -> None:
        self.labels = labels
        self._root = os.fsencode(root)
        self._paths = Names(paths)

    def name(self, i: int) -> str:
        """The path below the split's folder."""
        return printable(self._paths[i])

    def read(self, i: int) -> bytes:
        """The file's bytes."""
        return read_regular_file(os.path.join(self._root, self._paths[i]))


class Folder(Source):
    """Image files in class folders; links are followed.

    The class of an image is the folder it lies in. Files are known by their suffix, hidden files are passed over.
    """

    type = "folder"
    attrs: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "path": text("the folder that holds the split folders; ~ is the home folder"),
        "train": text("the training images' folder below path", default="train"),
        "val": text("the validation images' folder below path; default: val, validation, valid or test", default=""),
    }

    def __init__(self, attrs: Mapping[str, Any], seed: int) -> None:
        path = Path(attrs["path"]).expanduser().absolute()
        self.where = str(path)
        root = _folder(path, attrs["train"])
        paths, empty = _scan(root)
        classes = class_names(paths, str(root))
        refuse_empty_classes(empty, str(root))
        self.classes = tuple(map(printable, classes))
        self.train = FolderSplit(root, paths, label_array(paths, classes, str(root)))
        self.val = _validation(path, attrs["val"], classes)


def _validation(path: Path, name: str, classes: tuple[bytes, ...]) -> FolderSplit | None:
    name = name or next((word for word in VALIDATION_NAMES if (path / word).is_dir()), "")
    if not name:
        return None
    root = _folder(path, name)
    paths, _ = _scan(root)
    if not paths:
        raise NetspecError(f"{root}: no images found; put images in class folders there or remove the folder")
    return FolderSplit(root, paths, label_array(paths, classes, str(root)))


def _folder(path: Path, name: str) -> Path:
    folder = path / name
    if not folder.is_dir():
        there = sorted(entry.name + "/" for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []
        found = f"{path} holds " + (", ".join(there[:8]) or "no folders") if path.is_dir() else f"no folder {path}"
        raise NetspecError(f"{folder}: no such folder of images; {found}")
    return folder


def _scan(root: Path) -> tuple[list[bytes], list[bytes]]:
    """Image paths below the root in class order, and the folders that hold nothing at all below them."""
    paths: list[bytes] = []
    empty: list[bytes] = []
    top = os.fsencode(root)
    try:
        for folder, images, folders in _walk(top, b"", 0):
            paths += images
            if folder and not images and not folders:
                empty.append(folder)
    except OSError as error:
        where = printable(error.filename) if isinstance(error.filename, bytes) else root
        raise NetspecError(f"{where}: cannot be listed: {error.strerror}") from error
    return in_class_order(paths), empty


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _walk(top: bytes, below: bytes, depth: int) -> Iterator[tuple[bytes, list[bytes], list[bytes]]]:
    images: list[bytes] = []
    folders: list[bytes] = []
    with os.scandir(os.path.join(top, below)) as entries:
        for entry in entries:
            if entry.name.startswith(b"."):
                continue
            path = os.path.join(below, entry.name)
            if _is_folder(entry):
                folders.append(path)
            elif is_image_name(entry.name) and (entry.is_symlink() or entry.is_file()):
                images.append(path)  # a link to nowhere is a broken image, which is counted, as in an archive
    yield below, images, folders
    if depth == _DEEPEST:
        raise NetspecError(f"{os.fsdecode(top)}: folders nested over {_DEEPEST} deep; is one a link to its parent?")
    for folder in folders:
        yield from _walk(top, folder, depth + 1)
