"""Sums over processes: the upper levels of the tree over replicas. MPI moves, and numpy adds.

An all-reduce of a library adds in an order of its own, which may depend on counts, on how data are cut into buckets and
on the network; here each rank gets all ranks' values of its own part of a bucket, adds them in the tree, and hands the
sums to all: two collectives, and as many bytes as a ring moves (2 (p - 1) / p of the data). The bits depend neither on
the number of processes nor on buckets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from netspec.device.base import Call
from netspec.runners.transport.base import Array, Transport

_SMALLEST, _LARGEST, _MESSAGE = 4 << 20, 64 << 20, 1 << 20
"""Bytes of buckets, and of what one rank sends to another of each."""


def bucket_of(size: int) -> int:
    """Bytes that so many ranks exchange at once.

    Few of them add what is in the cache when it comes; many would wait for the latency of short messages.
    """
    return min(max(_SMALLEST, size * _MESSAGE), _LARGEST)


class Bucket:
    """Parts of arrays that are exchanged together; a part that is as large as a bucket is not copied for it."""

    def __init__(self, parts: Sequence[Array], size: int) -> None:
        self._parts, total = tuple(parts), sum(part.size for part in parts)
        self._values = parts[0] if len(parts) == 1 else np.empty(total, parts[0].dtype)
        self._counts = [total * (rank + 1) // size - total * rank // size for rank in range(size)]
        self.nbytes, self._itemsize = total * parts[0].itemsize, parts[0].itemsize
        self.received = size * max(self._counts)
        """How many elements at most a rank receives."""

    def moved(self, rank: int) -> int:
        """Bytes that leave a rank, and as many that reach it: others' parts of its values, then sums of its own part.

        About 2 (p - 1) / p of the bucket's bytes over p ranks.
        """
        own, size = self._counts[rank], len(self._counts)
        return self.nbytes + (size - 2) * own * self._itemsize

    @property
    def is_packed(self) -> bool:
        """Whether it is a copy of its parts."""
        return len(self._parts) > 1

    def exchange(self, transport: Transport, received: Array) -> None:
        """Sum over the ranks; ``received`` is memory for at least as many elements."""
        if self.is_packed:
            np.concatenate(self._parts, out=self._values)
        own, start = self._counts[transport.rank], sum(self._counts[: transport.rank])
        rows = received[: transport.size * own].reshape(transport.size, own)
        transport.alltoall(self._values, self._counts, rows)
        self._values[start : start + own] = tree_sum(rows)
        transport.allgather(self._values, self._counts)
        if self.is_packed:
            place = 0
            for part in self._parts:
                part[...] = self._values[place : place + part.size]
                place += part.size


def tree_sum(rows: Array) -> Array:
    """The sum of rows, as many as a power of two, in a binary tree: neighbours first. They are overwritten."""
    while len(rows) > 1:
        np.add(rows[0::2], rows[1::2], out=rows[0::2])
        rows = rows[0::2]
    total: Array = rows[0]
    return total


def summing(transport: Transport, arrays: Sequence[Array], bucket: int | None = None) -> Call:
    """A call that replaces arrays, of one dtype, by their sums over all ranks."""
    cut = buckets(arrays, transport.size, bucket)
    received = np.empty(max(one.received for one in cut), arrays[0].dtype)

    def call() -> None:
        for one in cut:
            one.exchange(transport, received)

    return call


def buckets(arrays: Sequence[Array], size: int, bucket: int | None = None) -> list[Bucket]:
    """What so many ranks exchange one after the other to sum arrays of one dtype."""
    flat = [array.reshape(-1) for array in arrays]
    nbytes = bucket_of(size) if bucket is None else bucket
    return [Bucket(parts, size) for parts in _packed(flat, max(1, nbytes // flat[0].itemsize))]


def _packed(arrays: Sequence[Array], most: int) -> Iterator[list[Array]]:
    """The arrays in order, in parts of at most so many elements, those that fit together in one bucket."""
    packed: list[Array] = []
    for array in arrays:
        for start in range(0, array.size, most):
            part = array[start : start + most]
            if packed and sum(one.size for one in packed) + part.size > most:
                yield packed
                packed = []
            packed.append(part)
    yield packed
