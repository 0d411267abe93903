"""Images in class folders: DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import path, text
from netspec.data.index.filenames import VALIDATION_NAMES
from netspec.data.index.image_table import ImageTable
from netspec.data.index.label_file import LABELS
from netspec.data.index.label_lists import class_words, listed_labels
from netspec.data.index.listing import Listing, list_images
from netspec.data.index.packed_names import PackedNames
from netspec.data.index.tree import DiskTree, Walk
from netspec.data.sample_files import class_files, write_files
from netspec.data.source import Source, Split, SplitName, read_regular_file
from netspec.errors import NetspecError, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class FolderSplit(Split):
    """The image files below one folder, in the order of their classes and names."""

    def __init__(self, root: bytes, images: ImageTable, labels: NDArray[np.int32]) -> None:
        self.labels = labels
        self._root = root
        self._paths = PackedNames(path for path, _ in images)

    def name(self, i: int) -> str:
        """The path below the split's folder."""
        return printable(self._paths[i])

    def read(self, i: int) -> bytes:
        """The file's bytes."""
        return read_regular_file(os.path.join(self._root, self._paths[i]))


    def part(self, indices: NDArray[np.int64]) -> FolderSplit:
        """Some of the files."""
        part = copy.copy(self)
        part.labels, part._paths = self.labels[indices], self._paths.part(indices.tolist())
        return part


class Folder(Source):
    """Image files in class folders; links are followed."""

    type = "folder"
    attrs: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "path": path("the folder that holds the split folders; ~ is the home folder"),
        "train": text("the training images' folder below path", default="train"),
        "val": text("the validation images' folder below path; default: val, validation, valid or test", default=""),
    }

    @classmethod
    def samples(cls, folder: Path) -> Sequence[Mapping[str, Any]]:
        """See Source."""
        return ({"path": str(write_files(folder, class_files()))},)

    def __init__(self, attrs: Mapping[str, Any], seed: int) -> None:
        self._path = Path(attrs["path"]).expanduser().absolute()
        self._attrs = attrs
        self.where = printable(self._path)

    def list_split(self, split: SplitName, alone: bool = False) -> Listing | None:
        """The images below the split's folder."""
        root = self._folder_of(split, alone)
        if root is None:
            return None
        if not root.is_dir():
            raise NetspecError(f"{printable(root)}: no such folder of images; {_what_is_there(self._path)}")
        folder, prefix = os.fsencode(root), os.path.relpath(os.fsencode(root), os.fsencode(self._path))
        prefix = b"" if prefix == b"." else prefix + b"/"
        walk = Walk(DiskTree(), folder, printable(root), prefix, LABELS if split == "val" else b"")
        return list_images(walk, partial(FolderSplit, folder), partial(listed_labels, self._path, split))

    def class_words(self) -> Mapping[str, str]:
        """Of the lists beside the split folders."""
        return class_words(self._path)

    def _folder_of(self, split: SplitName, alone: bool) -> Path | None:
        name = self._attrs[split]
        names = (name,) if name else VALIDATION_NAMES
        found = next((self._path / each for each in names if (self._path / each).is_dir()), None)
        if found is None and alone and name == self.attrs[split]["default"]:
            others = ("train", *VALIDATION_NAMES)
            found = None if any((self._path / each).is_dir() for each in others) else self._path
        return found or (self._path / name if name else None)


def _what_is_there(path: Path) -> str:
    if not path.is_dir():
        return f"no folder {printable(path)}"
    there = sorted(printable(entry.name) + "/" for entry in path.iterdir() if entry.is_dir())
    return f"{printable(path)} holds " + (", ".join(there[:8]) or "no folders")
