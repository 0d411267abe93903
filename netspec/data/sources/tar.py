"""Images in tar archives, read in place: one a split, one with both, many that are one set, or shards with an index."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import path, text
from netspec.data.index.archive import Archive
from netspec.data.index.archive_layout import Place, split_root, splits_root
from netspec.data.index.archive_names import PATTERNS, archives_named
from netspec.data.index.filenames import VALIDATION_NAMES
from netspec.data.index.image_table import ImageTable
from netspec.data.index.label_file import LABELS
from netspec.data.index.label_lists import class_words, listed_labels
from netspec.data.index.listing import Listing, list_images
from netspec.data.index.passed_over import PassedOver
from netspec.data.index.tar_split import Members, TarSplit
from netspec.data.index.tree import Walk
from netspec.data.sample_files import class_files, write_files
from netspec.data.shards.shard_index import INDEX, ShardIndex, read_index
from netspec.data.shards.shard_listing import list_shards
from netspec.data.source import Source, SplitName
from netspec.errors import NetspecError, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_SPLITS: tuple[SplitName, SplitName] = ("train", "val")


class Tar(Source):
    """Image files in uncompressed tar archives, whose headers are read once and whose images are read in place.

    The images are those that unpacking the archive would give, so links within it are followed, and none leads out.
    """

    type = "tar"
    attrs: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "path": path("the folder that holds the archives, or one archive with train/ and val/ in it"),
        "train": text("the training images' archives (a pattern names many), or folder in the one archive", default=""),
        "val": text("the validation images' archives, or folder; default: val, validation, valid or test", default=""),
    }

    @classmethod
    def samples(cls, folder: Path) -> Sequence[Mapping[str, Any]]:
        """See Source."""
        write_files(folder / "files", class_files())
        for split in _SPLITS:
            with tarfile.open(folder / f"{split}.tar", "w") as archive:
                archive.add(folder / "files" / split, split)
        return ({"path": str(folder)},)

    def __init__(self, attrs: Mapping[str, Any], seed: int) -> None:
        self._path = Path(attrs["path"]).expanduser().absolute()
        self._attrs = attrs
        self._one: Archive | None = None
        self._index: ShardIndex | None = None
        self.where = printable(self._path)

    def list_split(self, split: SplitName, alone: bool = False) -> Listing | None:
        """The images of the split's archives, or of its folder in the one archive."""
        if self._indexed:
            return list_shards(self._shard_index(), split)
        archive = self._archive_of(split)
        place = self._place(archive, split, alone) if archive is not None else None
        if archive is None or place is None:
            return None
        many = f" and {len(archive.paths) - 1:,} more" if len(archive.paths) > 1 else ""
        where = "/".join(filter(None, [printable(archive.path) + many, printable(place.path.rstrip(b"/"))]))
        walk = Walk(archive, place.folder, where, place.path, LABELS if split == "val" else b"")
        labels = partial(listed_labels, self._path, split) if self._path.is_dir() else lambda: None
        listing = list_images(walk, partial(_split, archive.paths, place.path), labels)
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
        names = [given] if given else [pattern.format(name) for pattern in PATTERNS for name in _names(split)]
        found: list[Path] = next(filter(None, (archives_named(self._path, name) for name in names)), [])
        if not found and (given or split == "train"):
            there = sorted(printable(entry.name) for entry in self._path.iterdir() if entry.suffix == ".tar")
            missing = f"{printable(self._path / names[0])}: no such archive"
            raise NetspecError(f"{missing}; {self.where} holds " + (", ".join(there[:8]) or "no .tar file"))
        return Archive(*found) if found else None

    @property
    def _indexed(self) -> bool:
        return not (self._attrs["train"] or self._attrs["val"]) and (self._path / INDEX).is_file()

    def _shard_index(self) -> ShardIndex:
        self._index = self._index or read_index(self._path)
        return self._index

    def class_words(self) -> Mapping[str, str]:
        """Those of the index, or of the lists beside the archives."""
        if self._indexed:
            return self._shard_index().words
        return class_words(self._path) if self._path.is_dir() else {}

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


def _split(archives: tuple[Path, ...], prefix: bytes, images: ImageTable, labels: NDArray[np.int32]) -> TarSplit:
    return TarSplit(archives, Members.of(images, prefix), labels)


def _names(split: SplitName) -> tuple[str, ...]:
    return ("train",) if split == "train" else VALIDATION_NAMES
