"""A prepared set as a source lists it: from its index, without a look into the shards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from netspec.data.index.listing import Listing
from netspec.data.index.packed_names import PackedNames
from netspec.data.index.tar_split import Members, TarSplit
from netspec.data.shards.shard_index import AGAIN, INDEX, STATISTICS, Record, ShardIndex
from netspec.data.source import Kept, SplitName
from netspec.errors import NetspecError, printable
from netspec.units import many

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def list_shards(index: ShardIndex, split: SplitName) -> Listing | None:
    """The images of a split, in the order of classes and names; None where the set has none.

    Raises NetspecError for a set that is not finished, and for shards that are not as the index says.
    """
    import numpy as np

    where = printable(index.folder)
    if unfinished := index.unfinished():
        raise NetspecError(f"{where}: is not finished, {many(len(unfinished), 'shard')} missing; {AGAIN}")
    if not index.shards(split):
        return None
    found = _Columns(index, split)
    names = PackedNames(found.names())
    places = np.concatenate(found.places, axis=1)
    members = Members(names, places[0], places[1], places[2], {})
    labels = np.concatenate(found.labels)
    present, numbers = np.unique(labels, return_inverse=True)  # a class may have lost all its images
    classes = tuple(index.classes[i] for i in present)
    kept = Kept(index.folder / STATISTICS, found.digest.hexdigest(), index.header["options"]["size"])
    make = partial(_split, found.paths, members, kept if split == "train" else None)
    return Listing(where, classes, numbers.astype(np.int32), make)


class _Columns:
    """What the records of a split say, gathered shard by shard while the names are read."""

    def __init__(self, index: ShardIndex, split: SplitName) -> None:
        self._index, self._split = index, split
        self.paths: list[Path] = []
        self.places: list[NDArray[np.int64]] = []
        self.labels: list[NDArray[np.int32]] = []
        self.digest = hashlib.sha256()

    def names(self) -> Iterator[bytes]:
        """The names of all images. Raises NetspecError for a shard that is not as its record says."""
        import numpy as np

        for number, record in enumerate(self._index.records(self._split)):
            path = self._index.folder / record.shard
            _check(path, record)
            self.paths.append(path)
            self.places.append(np.array([[number] * len(record.sizes), record.offsets, record.sizes], np.int64))
            self.labels.append(np.array(record.labels, np.int32))
            self.digest.update(record.sha256.encode())
            yield from (name.encode() for name in record.names)


def _split(paths: list[Path], members: Members, kept: Kept | None, labels: NDArray[np.int32]) -> TarSplit:
    return TarSplit(paths, members, labels, kept)


def _check(path: Path, record: Record) -> None:
    size = path.stat().st_size if path.is_file() else -1
    if size != record.bytes:
        found = "is missing" if size < 0 else f"has {size:,} bytes, not the {record.bytes:,} of {INDEX}"
        raise NetspecError(f"{printable(path)}: {found}; {AGAIN}")
