"""The data loader: batches of images, prefetched by worker processes, or by a thread where there are none."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from netspec.contract.augmentation import MIXED, Mix, Tint
from netspec.data.augment import augmentations
from netspec.data.geometry import geometry_for
from netspec.data.settings import DataSpec, More
from netspec.data.source import Split, SplitName
from netspec.data.workers.fetch import Result, Task, Transform, field_of
from netspec.data.workers.pool import Workers, start_workers, worker_count
from netspec.data.workers.process import Setup
from netspec.data.workers.shared_ring import Field, Ring
from netspec.errors import NetspecError
from netspec.machine.cleanup import close_after, on_error, on_exit
from netspec.units import many, percent

SLOTS = 4
"""Batches in shared memory: one in use, one on its way to the device, two being read."""

MOST_BROKEN_SHARE, MOST_BROKEN = 0.05, 10
"""Reading fails when more images than both are broken, and when all are."""

_PATIENCE_S = 300
_TASKS_PER_WORKER = 2
"""Tasks a batch: more of them cost this process time, and other batches keep busy whoever is done."""
_MOST_TASKS_PER_BATCH = 250


@dataclass(slots=True)
class Batch:
    """Images on a shared buffer, which the next batches overwrite after ``release()``.

    ``image`` is uint8 (N, H, W, C), of sequences (N, F, H, W, C), contiguous, ``label`` int32 (N,); where devices hold
    the images it is what they are told of each row, int32 (N, 7), see netspec.contract.augmentation.PLACE. The first
    ``valid`` rows count; the others are black and have label 0 and index -1. ``waited`` is how many seconds the
    consumer was kept waiting. ``beside`` has what belongs to each image beside its pixels, by name: ``tint``, float32
    (N, 1 + C), see netspec.ops.prepare. ``mixed`` has what belongs to the labels of images that are mixed: ``other``,
    int32 (N,), those of the images mixed in, and ``share``, float32 (N,), what they count. ``named`` has what other
    network inputs read: uint8 images, float32 numbers. A network without images has none in each row, (N, 0).
    """

    image: NDArray[Any]
    label: NDArray[np.int32]
    indices: NDArray[np.int64]
    valid: int
    number: int
    waited: float
    release: Callable[[], None]
    """Give the buffer back; ``image`` is not to be read after that."""
    beside: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    named: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    mixed: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class _Key(NamedTuple):
    """Which batch: its epoch and its number in the epoch."""

    epoch: int
    number: int


@dataclass(slots=True)
class _InFlight:
    """A batch that is being read: its ring slot, the tasks still missing, and each row's image (-1: none)."""

    key: _Key
    slot: int
    missing: int
    indices: NDArray[np.int64]


class Pipeline:
    """The batches of one split, epoch by epoch.

    In training an epoch is a permutation of the images keyed by (seed, epoch), its remainder dropped; in evaluation it
    is all images in order, the last batch filled up. With ``views: 10`` an evaluation has ten rows an image, which
    follow each other, if need be into the next batch: the centre, the four corners, and the mirror images of these
    five. What a batch holds depends on the seed, the epoch and its number alone, not on workers. A broken image's row
    shows the next readable one of the epoch's order in training, and is left out in evaluation.
    """

    def __init__(
        self,
        images: Split,
        data: DataSpec,
        split: SplitName,
        batch: int,
        image_shape: Sequence[int],
        seed: int,
        workers: int | None = None,
        more: More | None = None,
        part: tuple[int, int] = (0, 1),
        unscaled: bool = False,
    ) -> None:
        """``split`` says how the images are read: shuffled and cropped at random ("train"), or in order ("val").

        ``image_shape`` is the network's (height, width, channels), of sequences (frames, height, width, channels);
        ``workers`` None: as the spec says; ``more`` is what the network reads beside. ``part`` (k, n): of n batches
        that follow each other this pipeline reads the k-th, and others the others. ``unscaled``: images that would be
        resized count as broken. Raises NetspecError where the workers cannot be started or do not get their memory.
        """
        self.training = split == "train"
        together = batch * part[1]
        check_enough(images, split, together)
        geometry = replace(geometry_for(data, image_shape), unscaled=unscaled) if image_shape else None
        self.more = more = more or More()
        some = images.of_input(more.image) if more.image else images
        some = some.of_frames(image_shape[0]) if len(image_shape) == 4 else some
        self.split = some.at_size(max(geometry.square)) if geometry else some
        self.batch, self.seed = batch, seed
        self.views = 1 if self.training else data.views
        self._crops = len(images) * self.views
        self._offset, self._step, self._parts = batch * part[0], together, part[1]
        self.batches = self._crops // together if self.training else -(-self._crops // together)
        self.workers = worker_count(data.workers if workers is None else workers)
        self.tint_strength: Callable[[int], float] = lambda epoch: 1.0
        """How much there is of what alters colours on the device, from 0 to 1, in an epoch counted from 0."""
        self._broken: dict[int, str] = {}
        used = augmentations(data) if self.training else {}
        self._tint = next((one for one in used.values() if isinstance(one, Tint)), None)
        fields = {"image": Field((batch, *image_shape), "uint8")}
        if self._tint is not None:
            fields["tint"] = Field((batch, image_shape[-1]), "float32")
        if any(isinstance(one, Mix) for one in used.values()):
            fields |= {name: Field((batch,), dtype) for name, dtype in MIXED.items()}
        fields |= {field_of(name): Field((batch, *shape), "uint8") for name, shape in more.images.items()}
        self._ring = Ring(SLOTS, fields)
        others = {name: geometry_for(data, shape) for name, shape in more.images.items()}
        transform = Transform(geometry, self.training, seed, used, self.views, others)
        setup = Setup(self.split, transform, SLOTS, fields)
        self._workers = _start(setup, self._ring, self.workers)
        self._finalizer = weakref.finalize(self, _stop, self._workers, self._ring)
        self._lock = threading.RLock()
        self._free = deque(range(SLOTS))
        self._in_flight: dict[int, _InFlight] = {}  # by ticket, in the order of the batches
        self._cancelled: dict[int, _InFlight] = {}
        self._next: _Key | None = None
        self._tickets = 0

    @property
    def broken(self) -> list[tuple[str, str]]:
        """Name and reason of each broken image met so far, by index."""
        return [(self.split.name(i), reason) for i, reason in sorted(self._broken.items())]

    @property
    def broken_by_index(self) -> dict[int, str]:
        """The reason of each broken image met so far."""
        return dict(self._broken)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The epoch's batches from number ``start`` on.

        Reading begins now, and in training it runs on into the next epoch. Raises NetspecError when a worker dies, and
        when too many images are broken.
        """
        if not self._finalizer.alive:
            raise RuntimeError("the pipeline is closed")
        if not 0 <= start <= self.batches:
            raise ValueError(f"batch {start} of {self.batches}")
        self._seek(_Key(epoch, start))
        return self._batches(epoch, start)

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        for number in range(start, self.batches):
            yield self._take(_Key(epoch, number))

    def close(self) -> None:
        """Stop the workers; batches that are still held stay readable."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close_after(error, self.close)

    def _seek(self, key: _Key) -> None:
        """Have ``key`` be the next batch; what is being read of others is cancelled."""
        with self._lock:
            first = next((batch.key for batch in self._in_flight.values()), self._next)
            if first != key:
                self._cancelled |= self._in_flight
                self._in_flight = {}
                self._ring.cancelled[0] = self._tickets
                self._next = key if key.number < self.batches else None
            self._dispatch()

    def _dispatch(self) -> None:
        """Put free buffers to work on the next batches."""
        while self._free and self._next is not None:
            key, slot, ticket = self._next, self._free.popleft(), self._tickets
            first = key.number * self._step + self._offset
            count = max(min(self.batch, self._crops - first), 0)
            indices = np.full(self.batch, -1, np.int64)
            for values in self._ring.batches[slot].values():
                values[count:] = 0
            starts = self._starts(first, count)
            self._in_flight[ticket] = _InFlight(key, slot, len(starts), indices)
            self._tickets, self._next = ticket + 1, self._after(key)
            for row, end in pairwise([*starts, count]):
                self._workers.submit(Task(ticket, slot, key.epoch, first + row, row, end - row))

    def _starts(self, first: int, count: int) -> list[int]:
        """The rows at which tasks begin, of a batch that begins with crop ``first``: they share no image."""
        size = max(1, -(-count // min(_MOST_TASKS_PER_BATCH, _TASKS_PER_WORKER * max(1, self.workers))))
        step = -(-size // self.views) * self.views
        return [max(row, 0) for row in range(-(first % self.views), count, step)]

    def _after(self, key: _Key) -> _Key | None:
        if key.number + 1 < self.batches:
            return key._replace(number=key.number + 1)
        return _Key(key.epoch + 1, 0) if self.training else None

    def _take(self, key: _Key) -> Batch:
        began = time.perf_counter()
        ticket, batch = self._first(key)
        silence = 0.0
        while batch.missing:
            results = self._workers.wait(1.0)
            silence = 0.0 if results else silence + 1.0
            if silence > _PATIENCE_S:
                raise NetspecError(f"no image was read for {_PATIENCE_S} s; is the storage of the images reachable?")
            for result in results:
                self._enter(result)
        with self._lock:
            del self._in_flight[ticket]
        valid = self._compact(batch)
        label = np.where(batch.indices >= 0, self.split.labels[batch.indices], np.int32(0))
        image, waited = self._ring.batches[batch.slot]["image"], time.perf_counter() - began
        more = self._beside(key.epoch, batch.slot), self._named(batch), self._mixed(batch.slot)
        return Batch(image, label, batch.indices, valid, key.number, waited, self._releaser(batch.slot), *more)

    def _named(self, batch: _InFlight) -> dict[str, NDArray[Any]]:
        """What inputs read beside the first image and the label."""
        found: dict[str, NDArray[Any]] = {
            name: self._ring.batches[batch.slot][field_of(name)] for name in self.more.images
        }
        good = batch.indices >= 0
        for name, shape in self.more.values.items():
            found[name] = np.zeros((self.batch, *shape), np.float32)
            found[name][good] = self.split.values(name, batch.indices[good])
        return found

    def _beside(self, epoch: int, slot: int) -> dict[str, NDArray[np.float32]]:
        if self._tint is None:
            return {}
        return {"tint": self._tint.tint(self._ring.batches[slot]["tint"], self.tint_strength(epoch))}

    def _mixed(self, slot: int) -> dict[str, NDArray[Any]]:
        fields = self._ring.batches[slot]
        return {name: fields[name] for name in MIXED if name in fields}

    def _first(self, key: _Key) -> tuple[int, _InFlight]:
        """The batch that is due; waits for buffers of cancelled batches where need be."""
        while True:
            with self._lock:
                self._dispatch()
                ticket, batch = next(iter(self._in_flight.items()), (-1, None))
            if batch is not None:
                break
            if not self._cancelled:
                raise RuntimeError(f"all {SLOTS} batches are held; release() them before asking for another")
            for result in self._workers.wait(1.0):
                self._enter(result)
        if batch.key != key:
            raise RuntimeError("another epoch of this pipeline was begun meanwhile")
        return ticket, batch

    def _enter(self, result: Result) -> None:
        """Enter what a worker has done."""
        with self._lock:
            batch = self._in_flight.get(result.ticket) or self._cancelled[result.ticket]
            batch.missing -= 1
            batch.indices[result.row : result.row + len(result.images)] = result.images
            self._broken |= result.broken
            if result.ticket in self._cancelled and not batch.missing:
                self._free.append(self._cancelled.pop(result.ticket).slot)
                self._dispatch()
        self._check_broken()
        if result.failure:
            raise NetspecError(f"images cannot be read: {result.failure}{self._examples()}")

    def _check_broken(self) -> None:
        broken, images = len(self._broken), len(self.split)
        if broken == images:
            every = f"none of the {many(images, 'image')} in {self.split.where}"
            raise NetspecError(f"{every} can be read{self._examples()}")
        if broken > max(MOST_BROKEN, MOST_BROKEN_SHARE * images) / self._parts:
            some = f"{broken:,} of {many(images, 'image')} in {self.split.where} are broken"
            share = some if self._parts == 1 else f"{some}, as far as one of {self._parts} processes has seen"
            raise NetspecError(f"{share}, more than {percent(MOST_BROKEN_SHARE, 0)}{self._examples()}")

    def _examples(self) -> str:
        return "".join(f"\n  {name}: {reason}" for name, reason in self.broken[:5])

    def _compact(self, batch: _InFlight) -> int:
        """Close the gaps that broken images leave in an evaluation batch; returns the number of valid rows."""
        good = np.flatnonzero(batch.indices >= 0)
        valid = len(good)
        if valid and good[-1] >= valid:
            for values in self._ring.batches[batch.slot].values():
                values[:valid] = values[good]
                values[valid:] = 0
            batch.indices[:valid] = batch.indices[good]
            batch.indices[valid:] = -1
        return valid

    def _releaser(self, slot: int) -> Callable[[], None]:
        pending = [slot]

        def release() -> None:
            with self._lock:
                self._free.extend(pending)
                pending.clear()
                if self._finalizer.alive:
                    self._dispatch()

        return release


def check_enough(images: Split, split: SplitName, batch: int) -> None:
    """Raise NetspecError where training images do not fill a batch."""
    if split == "train" and len(images) < batch:
        count = many(len(images), "training image")
        raise NetspecError(f"{count} cannot fill a batch of {batch:,}; lower train.batch")


def _start(setup: Setup, ring: Ring, count: int) -> Workers:
    with on_error(ring.close):
        return start_workers(setup, ring, count)


def _stop(workers: Workers, ring: Ring) -> None:
    with on_exit(ring.close):
        workers.close()
