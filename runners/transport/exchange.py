"""Sums over processes: the upper levels of the tree over replicas. MPI moves, and numpy adds.

An all-reduce of a library adds in an order of its own, which may depend on counts, on how data are cut into buckets and
on the network; here each rank gets all ranks' values of its own part of a bucket, adds them in the tree, and hands the
sums to all. The bits depend neither on the number of processes nor on buckets.

Between machines that is two collectives, and as many bytes as a ring moves (2 (p - 1) / p of the data). Where all ranks
are on one machine each leaves its values where the others see them, which is a copy less on either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from netspec.device.base import Call
from netspec.planning.replica_tree import bucket_of
from netspec.runners.transport.base import Array, Transport

_LEAST = 16 << 20
"""Bytes of a bucket whose parts go as messages: TCP takes a quarter less time than for 4 MiB."""
_SHARED = 32 << 20
"""Bytes of memory that all ranks of a machine see, together; some of it should stay in the cache."""
_BLOCK = 1 << 15
"""Elements that are added at once: they stay in the core's own cache meanwhile."""


class Bucket:
    """Parts of arrays that are exchanged together; a part that is as large as a bucket is not copied for it."""

    def __init__(self, parts: Sequence[Array], size: int) -> None:
        self._parts, total = tuple(parts), sum(part.size for part in parts)
        self._ends = [total * rank // size for rank in range(size + 1)]
        self._counts = [stop - start for start, stop in zip(self._ends, self._ends[1:], strict=False)]
        self.nbytes, self._itemsize = total * parts[0].itemsize, parts[0].itemsize
        self.received = size * max(self._counts)
        """How many elements at most a rank receives."""
        self._packed: Array | None = None

    def moved(self, rank: int) -> int:
        """Bytes that leave a rank, and as many that reach it: others' parts of its values, then sums of its own part.

        About 2 (p - 1) / p of the bucket's bytes over p ranks.
        """
        own, size = self._counts[rank], len(self._counts)
        return self.nbytes + (size - 2) * own * self._itemsize

    @property
    def is_packed(self) -> bool:
        """Whether its values are copied to lie side by side."""
        return len(self._parts) > 1

    def exchange(self, transport: Transport, received: Array, share: float | None = None) -> None:
        """Sum over the ranks, each one's values times its ``share``; ``received`` has room for as many elements."""
        values = self._side_by_side()
        if share is not None:
            np.multiply(values, np.float32(share), out=values)
        own, start = self._counts[transport.rank], self._ends[transport.rank]
        rows = received[: transport.size * own].reshape(transport.size, own)
        transport.alltoall(values, self._counts, rows)
        sums = values[start : start + own]
        tree_sum([sums if rank == transport.rank else row for rank, row in enumerate(rows)], sums)
        transport.allgather(values, self._counts)
        place = 0
        for part in self._parts if self.is_packed else ():
            part[...] = values[place : place + part.size]
            place += part.size

    def exchange_in_memory(self, transport: Transport, seen: Sequence[Array], share: float | None = None) -> None:
        """The same by memory of each rank that all see: a place for what it gives each other, and one for its sums."""
        own, rank, width = seen[transport.rank], transport.rank, seen[0].size // transport.size
        others = [other for other in range(transport.size) if other != rank]
        for other in others:
            for place, values in self._blocks(other, other * width):
                _scale(values, share, own[place : place + values.size])
        transport.meet()
        for place, values in self._blocks(rank, rank * width):
            here = slice(place, place + values.size)
            if share is not None:
                _scale(values, share, values)
            tree_sum([values if one is own else one[here] for one in seen], values)
            own[here] = values
        transport.meet()
        for other in others:
            for place, values in self._blocks(other, other * width):
                values[...] = seen[other][place : place + values.size]

    def _side_by_side(self) -> Array:
        if not self.is_packed:
            return self._parts[0]
        if self._packed is None:
            self._packed = np.empty(self._ends[-1], self._parts[0].dtype)
        return np.concatenate(self._parts, out=self._packed)

    def _blocks(self, rank: int, place: int) -> Iterator[tuple[int, Array]]:
        """A rank's part of the values in blocks, with their places, the first of which is given."""
        first, begins = self._ends[rank], 0
        stop = self._ends[rank + 1]
        for part in self._parts:
            low, high = max(first - begins, 0), min(stop - begins, part.size)
            for start in range(low, high, _BLOCK):
                values = part[start : min(start + _BLOCK, high)]
                yield place, values
                place += values.size
            begins += part.size


def _scale(values: Array, share: float | None, target: Array) -> None:
    if share is None:
        target[...] = values
    else:
        np.multiply(values, np.float32(share), out=target)


def tree_sum(rows: Sequence[Array], total: Array | None = None) -> Array:
    """The sum of rows, as many as a power of two, in a binary tree: neighbours first. They are overwritten.

    It comes to lie in ``total``, which may be one of them, or else in the first.
    """
    left = list(rows)
    while len(left) > 1:
        last = total if len(left) == 2 else None
        left = [np.add(a, b, out=a if last is None else last) for a, b in zip(left[::2], left[1::2], strict=True)]
    return left[0]


def summing(
    transport: Transport,
    arrays: Sequence[Array],
    bucket: int | None = None,
    share: Callable[[], float] | None = None,
) -> Call:
    """A call that replaces arrays, of one dtype, by their sums over all ranks; each one's count by its ``share``."""
    seen = transport.shared(_SHARED // transport.size)
    if seen is None:
        cut = buckets(arrays, transport.size, bucket)
        received = np.empty(max(one.received for one in cut), arrays[0].dtype)
    else:
        views = [memory.view(arrays[0].dtype) for memory in seen]
        most = views[0].size // transport.size * transport.size * arrays[0].itemsize
        cut = buckets(arrays, transport.size, min(most, bucket or most))

    def call() -> None:
        factor = share() if share else None
        with np.errstate(all="ignore"):  # numbers that are not finite are checked for, and told, later
            for one in cut:
                if seen is None:
                    one.exchange(transport, received, factor)
                else:
                    one.exchange_in_memory(transport, views, factor)

    return call


def buckets(arrays: Sequence[Array], size: int, bucket: int | None = None) -> list[Bucket]:
    """What so many ranks exchange one after the other to sum arrays of one dtype, of ``bucket`` bytes at most.

    Without, they have about as many as suit so many ranks: up to half as many again, so that little is left over.
    """
    flat = [array.reshape(-1) for array in arrays]
    usual = max(1, (max(bucket_of(size), _LEAST) if bucket is None else bucket) // flat[0].itemsize)
    return [Bucket(parts, size) for parts in _packed(flat, usual, usual if bucket else usual * 3 // 2)]


def _packed(arrays: Sequence[Array], usual: int, most: int) -> Iterator[list[Array]]:
    """The arrays in order, in parts of ``most`` elements at most, those that fit together in one bucket."""
    packed: list[Array] = []
    for array in arrays:
        pieces = max(round(array.size / usual), -(-array.size // most))
        for part in np.array_split(array, pieces):
            if packed and sum(one.size for one in packed) + part.size > most:
                yield packed
                packed = []
            packed.append(part)
    yield packed
