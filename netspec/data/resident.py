"""Data sets that stay on the devices: decoded once, then batches are tables of what is shown of which image.

The tables are functions of the seed, the epoch and the images, as what workers do is, and lead to the same bytes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from netspec.contract.augmentation import Augmentation, Tint
from netspec.data.augment import augmentations
from netspec.data.augment_chain import Chain, centred
from netspec.data.geometry import RESIZED, Geometry, geometry_for
from netspec.data.pipeline import Batch, Pipeline, check_enough
from netspec.data.settings import DataSpec, More
from netspec.data.shuffle import permutation
from netspec.data.source import Split, SplitName
from netspec.errors import NetspecError
from netspec.machine import start_threads
from netspec.machine.environment import host_memory
from netspec.machine.tasks import task
from netspec.units import many, size

_BATCH = 64
_ROWS_AHEAD = 8192
"""So many rows of the tables are made at once, while those before them are used."""
_THREAD = "netspec-data"


class ResizedError(NetspecError):
    """Images would be resized and then cut: on the device, what is cut of a resized one has not the same bytes."""


@dataclass(frozen=True, slots=True)
class Held:
    """The images of some splits, one after the other, uint8 (M, H, W, C), and why some of them cannot be read."""

    images: NDArray[np.uint8]
    first: Sequence[int]
    """The place of each split's first image."""
    broken: Sequence[Mapping[int, str]]
    """Of each split, by index in it; their places are black."""


def held_shape(data: DataSpec, image_shape: Sequence[int], images: int) -> tuple[int, ...]:
    """The shape of so many images as they are held, uint8: the central squares that crops are taken from."""
    geometry = geometry_for(data, image_shape)
    return (images, *geometry.square, geometry.channels)


def hold(splits: Sequence[Split], data: DataSpec, image_shape: Sequence[int], workers: int | None, more: More) -> Held:
    """Decode all images. Raises ResizedError, and NetspecError as reading them does."""
    shape = held_shape(data, image_shape, sum(map(len, splits)))
    images = _black(shape)
    first = [sum(map(len, splits[:number])) for number in range(len(splits))]
    centre, is_cut = replace(data, crop=None, views=1), shape[1:] != tuple(image_shape)
    broken = []
    with task("decoding the images", len(images)) as tell:
        for split, start in zip(splits, first, strict=True):
            target, rest = images[start : start + len(split)], (0, workers, More(more.image))
            with Pipeline(split, centre, "val", min(_BATCH, len(split)), shape[1:], *rest, unscaled=is_cut) as pipeline:
                broken.append(_fill(target, pipeline, tell))
    return Held(images, first, broken)


def _black(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Memory for images; a system that grants more than there is would kill the process while they are decoded."""
    try:
        if prod(shape) > (host_memory() or sys.maxsize):
            raise MemoryError
        return np.zeros(shape, np.uint8)
    except MemoryError as error:
        raise NetspecError(f"no host memory for {many(shape[0], 'decoded image')}, {size(prod(shape))}") from error


def _fill(target: NDArray[np.uint8], pipeline: Pipeline, tell: Callable[[int], None]) -> dict[int, str]:
    """Write a split's images to their places; gives those that cannot be read."""
    try:
        for batch in pipeline.epoch(0):
            target[batch.indices[: batch.valid]] = batch.image[: batch.valid]
            tell(batch.valid)
            batch.release()
            _check_resized(pipeline)
    except NetspecError:
        _check_resized(pipeline)
        raise
    return pipeline.broken_by_index


def _check_resized(pipeline: Pipeline) -> None:
    word = RESIZED.split("{}")[2]
    resized = [f"{name} has {reason}" for name, reason in pipeline.broken if word in reason]
    if resized:
        raise ResizedError(resized[0])


class _Chunk(NamedTuple):
    """Rows of the tables of some batches of an epoch, and the images that they show (-1: none)."""

    epoch: int
    first: int
    indices: NDArray[np.int64]
    table: NDArray[np.int32]
    numbers: NDArray[np.float32]


class ResidentPipeline:
    """What Pipeline is, for images that the devices hold: a batch's ``image`` is a table, and nothing is read."""

    def __init__(
        self,
        images: Split,
        data: DataSpec,
        split: SplitName,
        batch: int,
        image_shape: Sequence[int],
        seed: int,
        held: Held,
        more: More,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        """As Pipeline's; ``held`` has the training images first, then those to validate with."""
        self.training, self.split, self.batch, self.seed, self.more = split == "train", images, batch, seed, more
        self._place, self._step = batch * part[0], batch * part[1]
        check_enough(images, split, self._step)
        self.batches = len(images) // self._step if self.training else -(-len(images) // self._step)
        self.tint_strength: Callable[[int], float] = lambda epoch: 1.0
        number = 0 if self.training else 1
        self._first, self._broken = held.first[number], held.broken[number]
        self._spare = _spare(geometry_for(data, image_shape))
        self._channels = image_shape[-1]
        used: Mapping[str, Augmentation] = augmentations(data) if self.training else {}
        self._tint = next((one for one in used.values() if isinstance(one, Tint)), None)
        self._chain = Chain(used, seed)
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.arange(len(images)))
        self._thread = ThreadPoolExecutor(1, _THREAD)
        self._next: tuple[tuple[int, int], Future[_Chunk]] | None = None

    @property
    def broken(self) -> list[tuple[str, str]]:
        """Name and reason of each image that cannot be read, by index."""
        return [(self.split.name(i), reason) for i, reason in sorted(self._broken.items())]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The epoch's batches from number ``start`` on; the first tables are made from now on."""
        if not 0 <= start <= self.batches:
            raise ValueError(f"batch {start} of {self.batches}")
        if start < self.batches:
            self._begin(epoch, start)
        return self._batches(epoch, start)

    def close(self) -> None:
        """Make no more tables."""
        self._thread.shutdown(cancel_futures=True)

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        number = start
        while number < self.batches:
            began = time.perf_counter()
            chunk = self._chunk(epoch, number)
            waited = time.perf_counter() - began
            for row in range(0, len(chunk.table), self.batch):
                yield self._batch(chunk, number, row, waited)
                number, waited = number + 1, 0.0

    def _batch(self, chunk: _Chunk, number: int, row: int, waited: float) -> Batch:
        rows = slice(row, row + self.batch)
        indices = chunk.indices[rows]
        good = indices >= 0
        label = np.where(good, self.split.labels[indices], np.int32(0))
        beside, named = {}, {}
        if self._tint is not None:
            beside["tint"] = self._tint.tint(chunk.numbers[rows], self.tint_strength(chunk.epoch))
        for name, shape in self.more.values.items():
            named[name] = np.zeros((self.batch, *shape), np.float32)
            named[name][good] = self.split.values(name, indices[good])
        valid = int(good.sum())
        return Batch(chunk.table[rows], label, indices, valid, number, waited, _nothing, beside, named)

    # Tables ---------------------------------------------------------------------------------------------------------

    def _chunk(self, epoch: int, number: int) -> _Chunk:
        """The tables from that batch on; the next ones are begun."""
        chunk = self._begin(epoch, number).result()
        after = number + len(chunk.table) // self.batch
        if after < self.batches:
            self._begin(epoch, after)
        elif self.training:
            self._begin(epoch + 1, 0)
        return chunk

    def _begin(self, epoch: int, number: int) -> Future[_Chunk]:
        if self._next is None or self._next[0] != (epoch, number):
            with start_threads.starting(_THREAD):
                self._next = (epoch, number), self._thread.submit(self._made, epoch, number)
        return self._next[1]

    def _made(self, epoch: int, number: int) -> _Chunk:
        count = min(max(_ROWS_AHEAD // self.batch, 1), self.batches - number)
        places = (number + np.arange(count)[:, None]) * self._step + self._place + np.arange(self.batch)
        indices = self._shown(epoch, places) if self.training else self._evaluated(places)
        indices = indices.ravel()
        if self.training:
            table, numbers = self._chain.places(epoch, indices, self._spare, self._channels)
        else:
            table, numbers = centred(indices, self._spare), np.empty((len(indices), 0), np.float32)
        table[:, 0] += np.where(indices < 0, 0, self._first).astype(np.int32)
        return _Chunk(epoch, number, indices, table, numbers)

    def _shown(self, epoch: int, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The images at places of an epoch's order; the next readable one in place of one that is not."""
        if epoch != self._order[0]:
            self._order = epoch, permutation(len(self.split), self.seed, epoch)
        order = self._order[1]
        found: NDArray[np.int64] = order[places]
        for at in np.argwhere(np.isin(found, list(self._broken))) if self._broken else ():
            found[tuple(at)] = self._readable(order, int(places[tuple(at)]))
        return found

    def _readable(self, order: NDArray[np.int64], place: int) -> int:
        following = (int(order[(place + number) % len(order)]) for number in range(len(order)))
        return next(image for image in following if image not in self._broken)  # where none is, ``hold`` has said so

    def _evaluated(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The images at places of the set, those that cannot be read left out of their batch: -1 at its end."""
        found = np.where(places < len(self.split), places, -1)
        lacking = (found < 0) | np.isin(found, list(self._broken))
        found[lacking] = -1
        return np.take_along_axis(found, np.argsort(lacking, axis=1, kind="stable"), axis=1)


def _spare(geometry: Geometry) -> tuple[int, int]:
    return geometry.square[0] - geometry.height, geometry.square[1] - geometry.width


def _nothing() -> None:
    """Tables need not be given back."""
