"""Images in tar archives, read in place: DIR/train.tar and DIR/val.tar, or one archive with both."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import text
from netspec.data.listing import (
    VALIDATION_NAMES,
    Names,
    class_names,
    in_class_order,
    is_hidden,
    is_image_name,
    label_array,
    refuse_empty_classes,
)
from netspec.data.source import BrokenImage, Source, Split, check_size, printable
from netspec.data.tarindex import Index, Member, read_index
from netspec.errors import NetspecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TarSplit(Split):
    """Some images of one archive, in the order of their classes and names."""

    def __init__(self, archive: Path, members: Sequence[Member], labels: NDArray[np.int32]) -> None:
        import numpy as np

        self.labels = labels
        self._archive = str(archive)
        self._names = Names([member.path for member in members])
        self._offsets = np.array([member.offset for member in members], np.int64)
        self._sizes = np.array([member.size for member in members], np.int64)
        self._handle: int | None = None

    def name(self, i: int) -> str:
        """The path within the archive."""
        return printable(self._names[i])

    def read(self, i: int) -> bytes:
        """The member's bytes; raises BrokenImage for a link out of the archive and where the archive has shrunk."""
        offset, size = int(self._offsets[i]), int(self._sizes[i])
        if offset < 0:
            raise BrokenImage("a link to something that is not in the archive")
        check_size(size)
        if self._handle is None:
            self._handle = os.open(self._archive, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        content = os.pread(self._handle, size, offset)
        if len(content) < size:
            raise BrokenImage("the archive ends within it")
        return content

    def __getstate__(self) -> dict[str, Any]:
        """Without the open file, which is this process's own."""
        return {**self.__dict__, "_handle": None}

    def __del__(self) -> None:
        """Close the archive."""
        if self.__dict__.get("_handle") is not None:
            os.close(self._handle)  # type: ignore[arg-type]


class Tar(Source):
    """Image files in uncompressed tar archives, whose headers are read once and whose images are read in place.

    The class of an image is the folder it lies in. Links within the archive are followed, others are broken images.
    """

    type = "tar"
    attrs: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "path": text("the folder that holds the archives, or one archive with train/ and val/ in it"),
        "train": text("the training images' archive, or folder within the one archive", default=""),
        "val": text("the validation images' archive, or folder; default: val, validation, valid or test", default=""),
    }

    def __init__(self, attrs: Mapping[str, Any], seed: int) -> None:
        path = Path(attrs["path"]).expanduser().absolute()
        self.where = str(path)
        parts = _parts_of_one if path.is_file() else _two_archives
        (archive, members, empty), validation = parts(path, attrs["train"], attrs["val"])
        paths = [member.path for member in members]
        classes = class_names(paths, str(archive))
        refuse_empty_classes(empty, str(archive))
        self.classes = tuple(map(printable, classes))
        self.train = TarSplit(archive, members, label_array(paths, classes, str(archive)))
        self.val = _validation_split(validation, classes) if validation else None


_Part = tuple[Path, list[Member], list[bytes]]
"""An archive, its images in class order, and its folders without images."""


def _validation_split(part: _Part, classes: Sequence[bytes]) -> TarSplit:
    archive, members, _ = part
    if not members:
        raise NetspecError(f"{archive}: no validation images found in it; images must lie in class folders")
    return TarSplit(archive, members, label_array([member.path for member in members], classes, str(archive)))


def _part(archive: Path, index: Index, below: bytes = b"") -> _Part:
    found = {m.path: m for m in index.files if m.path.startswith(below) and is_image_name(m.path)}
    full = _folders_of(found)
    folders = [folder for folder in index.folders if not is_hidden(folder) and folder + b"/" != below]
    empty = [folder for folder in folders if (folder + b"/").startswith(below) and folder not in full]
    return archive, [found[path] for path in in_class_order(found)], empty


def _folders_of(paths: Iterable[bytes]) -> set[bytes]:
    """All folders that hold one of the paths, at any depth."""
    direct = {path.rpartition(b"/")[0] for path in paths}
    return {b"/".join(folder.split(b"/")[:depth]) for folder in direct for depth in range(1, folder.count(b"/") + 2)}


def _two_archives(path: Path, train: str, val: str) -> tuple[_Part, _Part | None]:
    if not path.is_dir():
        raise NetspecError(f"{path}: no such folder or tar archive")
    first = _archive(path, train or "train.tar")
    val = val or next((f"{word}.tar" for word in VALIDATION_NAMES if (path / f"{word}.tar").is_file()), "")
    second = _archive(path, val) if val else None
    return _part(first, read_index(first)), _part(second, read_index(second)) if second else None


def _archive(path: Path, name: str) -> Path:
    if not (path / name).is_file():
        there = sorted(entry.name for entry in path.iterdir() if entry.suffix == ".tar")
        raise NetspecError(f"{path / name}: no such archive; {path} holds " + (", ".join(there[:8]) or "no .tar file"))
    return path / name


def _parts_of_one(path: Path, train: str, val: str) -> tuple[_Part, _Part | None]:
    """Split one archive by folder: ``train/CLASS/x.jpg``; all of it is training where it has no such folder."""
    index = read_index(path)
    folders = _folders_of(member.path for member in index.files if is_image_name(member.path))
    first = _folder_named(folders, [train] if train else ["train"])
    if first is None and (train or val):
        raise NetspecError(f"{path}: no folder '{train or 'train'}' in the archive")
    second = _folder_named(folders, [val] if val else VALIDATION_NAMES) if first is not None else None
    if val and second is None:
        raise NetspecError(f"{path}: no folder '{val}' in the archive")
    return _part(path, index, first or b""), _part(path, index, second) if second else None


def _folder_named(folders: set[bytes], names: Sequence[str]) -> bytes | None:
    """The uppermost folder of the first name that occurs, with a slash after it."""
    for name in names:
        wanted = os.fsencode(name.strip("/"))
        found = [f for f in folders if f == wanted or f.endswith(b"/" + wanted)]
        if found:
            return min(found, key=lambda f: (f.count(b"/"), f)) + b"/"
    return None
