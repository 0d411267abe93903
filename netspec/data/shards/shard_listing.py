"""A prepared set as a source lists it: from its index, without a look into the shards."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from netspec.data.index.listing import Listing
from netspec.data.index.packed_names import PackedNames
from netspec.data.index.tar_split import Members, TarSplit
from netspec.data.shards.shard_index import AGAIN, INDEX, STATISTICS, Record, ShardIndex
from netspec.data.source import Kept, SplitName
from netspec.errors import NetspecError, printable

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
        raise NetspecError(f"{where}: is not finished, {len(unfinished):,} shards are missing; {AGAIN}")
    records = [index.records[name] for name in index.shards(split)]
    if not records:
        return None
    paths = [index.folder / record.shard for record in records]
    for path, record in zip(paths, records, strict=True):
        _check(path, record)
    counts = [len(record.names) for record in records]
    members = Members(
        PackedNames(name.encode() for record in records for name in record.names),
        np.repeat(np.arange(len(records)), counts),
        np.concatenate([np.array(record.offsets, np.int64) for record in records]),
        np.concatenate([np.array(record.sizes, np.int64) for record in records]),
        {},
    )
    numbers = np.concatenate([np.array(record.labels, np.int32) for record in records])
    present, numbers = np.unique(numbers, return_inverse=True)  # a class may have lost all its images
    classes = tuple(index.classes[i] for i in present)
    kept = Kept(index.folder / STATISTICS, index.digest(split), index.header["options"]["size"])
    make = partial(_split, paths, members, kept if split == "train" else None)
    return Listing(where, classes, numbers.astype(np.int32), make)


def _split(paths: list[Path], members: Members, kept: Kept | None, labels: NDArray[np.int32]) -> TarSplit:
    return TarSplit(paths, members, labels, kept)


def _check(path: Path, record: Record) -> None:
    size = path.stat().st_size if path.is_file() else -1
    if size != record.bytes:
        found = "is missing" if size < 0 else f"has {size:,} bytes, not the {record.bytes:,} of {INDEX}"
        raise NetspecError(f"{printable(path)}: {found}; {AGAIN}")
