"""The index of a prepared set, ``index.jsonl``: what is in which shard, so that no header of an archive is read.

One JSON object a line. The first says how the set was made: format version, source, options, classes with their words,
and for each split how many images and shards it has. A line for each shard follows, appended when the shard is whole,
so that the file is the journal of an unfinished set too: the set is finished when every shard has its line. Of two
lines of one shard the later counts. A line that a kill cut short is as if it were not there.
"""

from __future__ import annotations

import itertools
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from netspec.data.source import SplitName
from netspec.errors import NetspecError, printable
from netspec.machine.atomic_files import write_all, write_whole

INDEX, STATISTICS = "index.jsonl", "statistics.npz"
VERSION = 1
_KEY = "netspec_shards"
AGAIN = "netspec data prepare with the same source and options goes on where it stopped"


class Record(NamedTuple):
    """A shard that is whole: its size and digest, and of each image name, class, place and size in bytes.

    ``remarks`` are (kind, image in the source, detail) of images that are broken or were not as they should be.
    """

    shard: str
    bytes: int
    sha256: str
    names: list[str]
    labels: list[int]
    offsets: list[int]
    sizes: list[int]
    remarks: list[tuple[str, str, str]]


class ShardIndex:
    """An index as it was read: the first line, and the records of whole shards, packed."""

    def __init__(self, folder: Path, header: Mapping[str, Any]) -> None:
        self.folder, self.header = folder, header
        self._packed: dict[str, bytes] = {}

    def add(self, record: Record) -> None:
        """Enter a shard that is whole."""
        self._packed[record.shard] = zlib.compress(_line(record._asdict()), 1)

    def drop(self, shard: str) -> None:
        """Forget a shard."""
        del self._packed[shard]

    def records(self, split: SplitName | None = None) -> Iterator[Record]:
        """The whole shards of a split, or of all, in order."""
        for each in (split,) if split else self.header["splits"]:
            for name in self.shards(each):
                if name in self._packed:
                    yield Record(**json.loads(zlib.decompress(self._packed[name])))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by index."""
        return tuple(name for name, _ in self.header["classes"])

    @property
    def words(self) -> dict[str, str]:
        """What classes are called by people, where it is known."""
        return {name: words for name, words in self.header["classes"] if words}

    def shards(self, split: SplitName) -> list[str]:
        """File names of a split's shards, whole or not; none where the set has no such split."""
        return shard_names(split, self.header["splits"].get(split, {}).get("shards", 0))

    def unfinished(self) -> list[str]:
        """Shards that are not there yet."""
        return [name for split in self.header["splits"] for name in self.shards(split) if name not in self._packed]


def shard_names(split: str, count: int) -> list[str]:
    """``train-00000.tar``, ``train-00001.tar``, ..."""
    return [f"{split}-{number:05}.tar" for number in range(count)]


def header_of(**content: Any) -> dict[str, Any]:
    """The first line of an index."""
    return {_KEY: VERSION, **content}


def read_index(folder: Path) -> ShardIndex:
    """The index of a folder, finished or not; raises NetspecError where it is none that this version reads."""
    path = folder / INDEX
    try:
        with path.open("rb") as file:
            lines = _objects(file)
            header = next(lines, None)
            if not isinstance(header, dict) or _KEY not in header:
                raise NetspecError(f"{printable(path)}: is no index of shards, or a damaged one; prepare the set again")
            if header[_KEY] != VERSION:
                version = f"is of format {header[_KEY]}, and this netspec reads format {VERSION}"
                raise NetspecError(f"{printable(path)}: {version}; prepare the set again")
            index = ShardIndex(folder, header)
            for line in lines:
                index.add(Record(**line))
    except OSError as error:
        raise NetspecError(f"{printable(path)}: cannot be read: {error.strerror}") from error
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise NetspecError(f"{printable(path)}: is damaged ({error}); remove it and prepare the set again") from error
    return index


def _objects(file: Any) -> Iterator[Any]:
    for line in file:
        if line.endswith(b"\n"):
            yield json.loads(line)


def write_index(index: ShardIndex) -> None:
    """Write it whole, the shards in order: the same set gives the same bytes, however it came about."""
    lines = (_line(record._asdict()) for record in index.records())
    write_whole(index.folder / INDEX, itertools.chain([_line(index.header)], lines))


def append(handle: int, record: Record) -> None:
    """Append a shard's line, and see to it that it lasts; raises OSError."""
    write_all(handle, _line(record._asdict()))
    os.fsync(handle)


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
