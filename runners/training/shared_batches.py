"""Batches over the ranks that work one replica together: those whose devices read images read them, the others none."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence, Sized
from typing import Any

import numpy as np

from netspec.data.pipeline import Batch, check_enough
from netspec.data.source import Split
from netspec.errors import NetspecError
from netspec.runners.training.prefetch import Batches
from netspec.runners.transport.base import Transport, named


class Unread:
    """The batches of a rank that reads nothing: as many as a Pipeline has, without images."""

    broken: Sequence[tuple[str, str]] = ()

    def __init__(self, split: Split, batch: int, parts: int, training: bool) -> None:
        """``batch`` and ``parts`` are a Pipeline's, of one view an image."""
        self.split, together = split, batch * parts
        check_enough(split, "train" if training else "val", together)
        self.batches = len(split) // together if training else -(-len(split) // together)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See Pipeline."""
        none = np.zeros((0,), np.uint8), np.zeros((0,), np.int32), np.zeros((0,), np.int64)
        return (Batch(*none, 0, number, 0.0, lambda: None) for number in range(start, self.batches))

    def close(self) -> None:
        """See Pipeline."""


class SharedBatches:
    """Batches of which all ranks know how many rows count; those who read must have read the same images."""

    def __init__(self, batches: Batches, within: Transport) -> None:
        self._own, self._within = batches, within
        self.batches = batches.batches

    @property
    def split(self) -> Sized:
        """See Pipeline."""
        return self._own.split

    @property
    def broken(self) -> Sequence[tuple[str, str]]:
        """See Pipeline."""
        return self._own.broken

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """See Pipeline. Raises NetspecError, in all ranks, where one has read other images than another."""
        return map(self._agreed, self._own.epoch(epoch, start))

    def _agreed(self, batch: Batch) -> Batch:
        own = (batch.valid, zlib.crc32(batch.indices.data)) if batch.indices.size else None
        told = self._within.gather(own)
        readers = [rank for rank, one in enumerate(told) if one is not None]
        other = next((rank for rank in readers if told[rank] != told[readers[0]]), None)
        if other is not None:
            second, first = (named(self._within, rank) for rank in (other, readers[0]))
            raise NetspecError(f"{second} has read other images than {first}: one of them cannot read some")
        batch.valid, _ = told[readers[0]] or (0, 0)
        return batch
