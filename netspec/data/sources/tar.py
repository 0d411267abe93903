"""Images in tar archives, read in place: DIR/train.tar and DIR/val.tar, or one archive with both."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import path, text
from netspec.data.index.archive import Archive, File, open_archive, read_file
from netspec.data.index.archive_layout import Place, split_root, splits_root
from netspec.data.index.filenames import VALIDATION_NAMES
from netspec.data.index.label_file import LABELS
from netspec.data.index.listing import Images, Listing, list_images
from netspec.data.index.packed_names import PackedNames
from netspec.data.index.passed_over import PassedOver
from netspec.data.index.tree import Walk
from netspec.data.source import Source, Split, SplitName
from netspec.errors import NetspecError, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_SPLITS: tuple[SplitName, SplitName] = ("train", "val")


class TarSplit(Split):
    """Some images of one archive, in the order of their classes and names; ``prefix`` leads to the split's folder."""

    def __init__(self, archive: Path, prefix: bytes, images: Images, labels: NDArray[np.int32]) -> None:
        import numpy as np

        self.labels = labels
        self._archive = archive
        self._names = PackedNames([prefix + path for path, _ in images])
        files: list[File] = [file for _, file in images]
        self._offsets = np.array([file.offset for file in files], np.int64)
        self._sizes = np.array([file.size for file in files], np.int64)
        self._sparse = {i: file.pieces for i, file in enumerate(files) if file.pieces is not None}
        self._handle: int | None = None

    def name(self, i: int) -> str:
        """The path within the archive."""
        return printable(self._names[i])

    def read(self, i: int) -> bytes:
        """The member's bytes; raises BrokenImage for a link out of the archive and where the archive has shrunk."""
        if self._handle is None:
            self._handle = open_archive(self._archive)
        return read_file(self._handle, File(int(self._offsets[i]), int(self._sizes[i]), self._sparse.get(i)))

    def __getstate__(self) -> dict[str, Any]:
        """Without the open file, which is this process's own."""
        return {**self.__dict__, "_handle": None}

    def __del__(self) -> None:
        """Close the archive."""
        if self.__dict__.get("_handle") is not None:
            os.close(self._handle)  # type: ignore[arg-type]


class Tar(Source):
    """Image files in uncompressed tar archives, whose headers are read once and whose images are read in place.

    The images are those that unpacking the archive would give, so links within it are followed, and none leads out.
    """

    type = "tar"
    attrs: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "path": path("the folder that holds the archives, or one archive with train/ and val/ in it"),
        "train": text("the training images' archive, or folder within the one archive", default=""),
        "val": text("the validation images' archive, or folder; default: val, validation, valid or test", default=""),
    }

    def __init__(self, attrs: Mapping[str, Any], seed: int) -> None:
        self._path = Path(attrs["path"]).expanduser().absolute()
        self._attrs = attrs
        self._one: Archive | None = None
        self.where = printable(self._path)

    def list_split(self, split: SplitName, alone: bool = False) -> Listing | None:
        """The images of the split's archive, or of its folder in the one archive."""
        archive = self._archive_of(split)
        place = self._place(archive, split, alone) if archive is not None else None
        if archive is None or place is None:
            return None
        where = "/".join(filter(None, [printable(archive.path), printable(place.path.rstrip(b"/"))]))
        walk = Walk(archive, place.folder, where, place.path, LABELS if split == "val" else b"")
        listing = list_images(walk, partial(TarSplit, archive.path, place.path))
        listing.passed += archive.passed
        archive.passed = PassedOver()
        return listing

    def _archive_of(self, split: SplitName) -> Archive | None:
        if self._path.is_file():
            self._one = self._one or Archive(self._path)
            return self._one
        if not self._path.is_dir():
            raise NetspecError(f"{self.where}: no such folder or tar archive")
        given = self._attrs[split]
        names = (given,) if given else [f"{name}.tar" for name in _names(split)]
        found = next((self._path / name for name in names if (self._path / name).is_file()), None)
        if found is None and (given or split == "train"):
            there = sorted(printable(entry.name) for entry in self._path.iterdir() if entry.suffix == ".tar")
            missing = f"{printable(self._path / names[0])}: no such archive"
            raise NetspecError(f"{missing}; {self.where} holds " + (", ".join(there[:8]) or "no .tar file"))
        return Archive(found) if found is not None else None

    def _place(self, archive: Archive, split: SplitName, alone: bool) -> Place | None:
        """The split's folder; all of the one archive is training where it has no split folders."""
        if archive is not self._one:
            return split_root(archive.top, [*_names(split), archive.path.stem])
        names = {each: (self._attrs[each],) if self._attrs[each] else _names(each) for each in _SPLITS}
        root = splits_root(archive.top, [name for each in _SPLITS for name in names[each]])
        found = next((place for name in names[split] if root and (place := root.below(name))), None)
        if found is None and (self._attrs[split] or (split == "train" and root is not None)):
            raise NetspecError(f"{self.where}: no folder '{self._attrs[split] or split}' in the archive")
        return found or (Place(b"", archive.top) if root is None and (split == "train" or alone) else None)


def _names(split: SplitName) -> tuple[str, ...]:
    return ("train",) if split == "train" else VALIDATION_NAMES
