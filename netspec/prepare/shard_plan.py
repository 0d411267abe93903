"""What goes into which shard: decided from the list of images alone, so that a second start makes the same shards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netspec.data.index.classes import canonical
from netspec.data.index.filenames import suffix_of
from netspec.data.index.packed_names import PackedNames
from netspec.data.shards.shard_index import shard_names
from netspec.data.source import Split, SplitName
from netspec.prepare.encode import Recipe

_JPEG = (b".jpg", b".jpeg", b".jpe", b".jfif")


@dataclass(frozen=True)
class SplitPlan:
    """A split's images in the order of the shards: by class, and by name as every source orders names.

    Place i shows image ``order[i]`` of the source, under the name ``names[i]``, which is ``class/file``.
    """

    name: SplitName
    images: Split
    order: NDArray[np.int64]
    names: PackedNames
    shard_size: int

    @property
    def shards(self) -> list[str]:
        """The files' names."""
        return shard_names(self.name, -(-len(self.order) // self.shard_size))

    def places(self, shard: int) -> range:
        """The places of a shard."""
        first = shard * self.shard_size
        return range(first, min(first + self.shard_size, len(self.order)))

    def digest(self) -> str:
        """Of names and order: the same images listed in the same way."""
        return hashlib.sha256(self.names.text + self.order.tobytes()).hexdigest()


def plan_split(name: SplitName, images: Split, classes: Sequence[str], recipe: Recipe, shard_size: int) -> SplitPlan:
    """Order and name the images of a split."""
    order = np.argsort(images.labels, kind="stable")
    starts = np.searchsorted(images.labels[order], np.arange(len(classes) + 1))
    names = PackedNames(_named(images, order, starts, classes, recipe.suffix))
    return SplitPlan(name, images, order, names, shard_size)


def _named(
    images: Split, order: NDArray[np.int64], starts: NDArray[np.int64], classes: Sequence[str], suffix: str
) -> Iterator[bytes]:
    """The names, class by class; ``order`` is brought in their order on the way."""
    for label, folder in enumerate(classes):
        block = order[starts[label] : starts[label + 1]]
        files = _distinct((images.name(i).rpartition("/")[2] for i in block.tolist()), suffix)
        named = sorted((canonical(each), each, i) for each, i in zip(files, block.tolist(), strict=True))
        block[:] = [i for _, _, i in named]
        yield from (f"{folder}/".encode() + each for _, each, _ in named)


def _distinct(files: Iterable[str], suffix: str) -> Iterator[bytes]:
    """File names with the suffix of what they hold; of equal ones the second gets a ``-2``, and so on."""
    taken: set[bytes] = set()
    for file in files:
        name = file.encode("utf-8", "replace")
        right = suffix_of(name) in _JPEG if suffix == ".jpg" else suffix_of(name) == suffix.encode()
        stem, end = (name[: -len(suffix_of(name))], name[-len(suffix_of(name)) :]) if right else (name, suffix.encode())
        found, number = stem + end, 2
        while found in taken:
            found, number = b"%s-%d%s" % (stem, number, end), number + 1
        taken.add(found)
        yield found
