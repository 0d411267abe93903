"""Batches of images, decoded ahead of use: in worker processes, or in a thread where there are none."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from netspec.data.decode import geometry_for
from netspec.data.settings import DataSpec
from netspec.data.shared_ring import Ring
from netspec.data.source import Source, Split
from netspec.data.tasks import Done, Recipe, Task
from netspec.data.worker import Setup
from netspec.data.worker_pool import Crew, ProcessCrew, ThreadCrew
from netspec.errors import NetspecError
from netspec.machine.environment import cores

SLOTS = 4
"""Batches in shared memory: one in use, one on its way to the device, two being read."""

MOST_BROKEN_SHARE, MOST_BROKEN = 0.05, 10
"""A run fails when more images than both are broken."""

_PATIENCE_S = 300
_BLOCKS_PER_WORKER = 4
_MOST_TASKS_PER_BATCH = 250


@dataclass(slots=True)
class Batch:
    """Images on a shared buffer, which the next batches overwrite after ``release()``.

    ``image`` is uint8 (N, H, W, C), ``label`` int32 (N,). The first ``valid`` rows count; the others are black and have
    label 0 and index -1. ``waited`` is how many seconds the consumer was kept waiting.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.int32]
    indices: NDArray[np.int64]
    valid: int
    number: int
    waited: float
    release: Callable[[], None]
    """Give the buffer back; ``image`` is not to be read after that."""


class _Key(NamedTuple):
    """Which batch: its epoch, its view and its number in the epoch."""

    epoch: int
    view: int
    number: int


@dataclass(slots=True)
class _Flight:
    """A batch that is being read: its ring slot, the blocks still missing, and each row's image (-1: none)."""

    key: _Key
    slot: int
    missing: int
    indices: NDArray[np.int64]


class Pipeline:
    """The batches of one split, epoch by epoch.

    In training an epoch is a permutation of the images keyed by (seed, epoch), its remainder dropped; in evaluation it
    is all images in order, the last batch filled up. What a batch holds depends on the seed, the epoch and its number
    alone, not on workers. A broken image's row shows the next readable one of the epoch's order in training, and is
    left out in evaluation.
    """

    def __init__(
        self,
        source: Source | Split,
        data: DataSpec,
        split: Literal["train", "val"],
        batch: int,
        image_shape: Sequence[int],
        seed: int,
        workers: int | None = None,
    ) -> None:
        """``image_shape`` is the network's (height, width, channels); ``workers`` None: as the spec says.

        A bare Split is read as ``split`` says.
        """
        self.training = split == "train"
        chosen = source if isinstance(source, Split) else source.train if self.training else source.val
        if chosen is None:
            raise NetspecError("the data has no validation images")
        if self.training and len(chosen) < batch:
            raise NetspecError(f"{len(chosen):,} training images do not fill a batch of {batch}; lower train.batch")
        geometry = geometry_for(data, image_shape)
        self.split = chosen.at_size(max(geometry.square))
        self.batch, self.seed = batch, seed
        self.views = 1 if self.training else data.views
        self.batches = len(chosen) // batch if self.training else -(-len(chosen) // batch)
        self.workers = worker_count(data.workers if workers is None else workers)
        self._broken: dict[int, str] = {}
        self._ring = Ring(SLOTS, (batch, geometry.height, geometry.width, geometry.channels))
        setup = Setup(self.split, Recipe(geometry, self.training, data.mirror, seed), SLOTS, self._ring.shape)
        self._crew = _hire(setup, self._ring, self.workers)
        self._finalizer = weakref.finalize(self, _dismiss, self._crew, self._ring)
        self._lock = threading.RLock()
        self._free = deque(range(SLOTS))
        self._flights: dict[int, _Flight] = {}  # by ticket, in the order of the batches
        self._void: dict[int, _Flight] = {}
        self._next: _Key | None = None
        self._tickets = 0

    @property
    def broken(self) -> list[tuple[str, str]]:
        """Name and reason of each broken image met so far, by index."""
        return [(self.split.name(i), reason) for i, reason in sorted(self._broken.items())]

    @property
    def buffers(self) -> list[NDArray[np.uint8]]:
        """The batches' shared buffers, for a device that wants to pin them."""
        return self._ring.batches

    def epoch(self, epoch: int, start: int = 0, view: int = 0) -> Iterator[Batch]:
        """The epoch's batches from number ``start`` on.

        Reading begins now, and in training it runs on into the next epoch.
        ``view`` (evaluation with ``views: 10``) is 0 for the centre, 1-4 for the corners, 5-9 for their mirror images.
        Raises NetspecError when a worker dies, and when too many images are broken.
        """
        if not self._finalizer.alive:
            raise RuntimeError("the pipeline is closed")
        if not 0 <= view < self.views or not 0 <= start <= self.batches:
            raise ValueError(f"view {view} of {self.views}, batch {start} of {self.batches}")
        self._seek(_Key(epoch, view, start))
        return self._batches(epoch, view, start)

    def _batches(self, epoch: int, view: int, start: int) -> Iterator[Batch]:
        for number in range(start, self.batches):
            yield self._take(_Key(epoch, view, number))

    def close(self) -> None:
        """Stop the workers; batches that are still held stay readable."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _seek(self, key: _Key) -> None:
        """Have ``key`` be the next batch; what is being read of others is void."""
        with self._lock:
            first = next((flight.key for flight in self._flights.values()), self._next)
            if first != key:
                self._void |= self._flights
                self._flights = {}
                self._ring.void[0] = self._tickets
                self._next = key if key.number < self.batches else None
            self._dispatch()

    def _dispatch(self) -> None:
        """Put free buffers to work on the next batches."""
        while self._free and self._next is not None:
            key, slot, ticket = self._next, self._free.popleft(), self._tickets
            first = key.number * self.batch
            count = min(self.batch, len(self.split) - first)
            indices = np.full(self.batch, -1, np.int64)
            self._ring.batches[slot][count:] = 0
            block = max(1, -(-count // min(_MOST_TASKS_PER_BATCH, _BLOCKS_PER_WORKER * max(1, self.workers))))
            rows = range(0, count, block)
            self._flights[ticket] = _Flight(key, slot, len(rows), indices)
            self._tickets, self._next = ticket + 1, self._after(key)
            for row in rows:
                size = min(block, count - row)
                self._crew.submit(Task(ticket, slot, key.epoch, key.view, first + row, row, size))

    def _after(self, key: _Key) -> _Key | None:
        if key.number + 1 < self.batches:
            return key._replace(number=key.number + 1)
        if self.training:
            return _Key(key.epoch + 1, 0, 0)
        return _Key(key.epoch, key.view + 1, 0) if key.view + 1 < self.views else None

    def _take(self, key: _Key) -> Batch:
        began = time.perf_counter()
        ticket, flight = self._first(key)
        silence = 0.0
        while flight.missing:
            done = self._crew.wait(1.0)
            silence = 0.0 if done else silence + 1.0
            if silence > _PATIENCE_S:
                raise NetspecError(f"no image was read for {_PATIENCE_S} s; is the storage of the images reachable?")
            for report in done:
                self._note(report)
        with self._lock:
            del self._flights[ticket]
        valid = self._move_up(flight)
        label = np.where(flight.indices >= 0, self.split.labels[flight.indices], np.int32(0))
        image, waited = self._ring.batches[flight.slot], time.perf_counter() - began
        return Batch(image, label, flight.indices, valid, key.number, waited, self._releaser(flight.slot))

    def _first(self, key: _Key) -> tuple[int, _Flight]:
        """The batch that is due; waits for buffers of void batches where need be."""
        while True:
            with self._lock:
                self._dispatch()
                ticket, flight = next(iter(self._flights.items()), (-1, None))
            if flight is not None:
                break
            if not self._void:
                raise RuntimeError(f"all {SLOTS} batches are held; release() them before asking for another")
            for report in self._crew.wait(1.0):
                self._note(report)
        if flight.key != key:
            raise RuntimeError("another epoch of this pipeline was begun meanwhile")
        return ticket, flight

    def _note(self, report: Done) -> None:
        """Enter what a worker reports."""
        with self._lock:
            flight = self._flights.get(report.ticket) or self._void[report.ticket]
            flight.missing -= 1
            flight.indices[report.row : report.row + len(report.images)] = report.images
            self._broken |= report.broken
            if report.ticket in self._void and not flight.missing:
                self._free.append(self._void.pop(report.ticket).slot)
                self._dispatch()
        if len(self._broken) > max(MOST_BROKEN, MOST_BROKEN_SHARE * len(self.split)):
            raise NetspecError(self._too_many_broken())
        if report.failure:
            raise NetspecError(f"images cannot be read: {report.failure}{self._examples()}")

    def _too_many_broken(self) -> str:
        share = f"{len(self._broken):,} of {len(self.split):,} images are broken, more than {MOST_BROKEN_SHARE:.0%}"
        return share + self._examples()

    def _examples(self) -> str:
        return "".join(f"\n  {name}: {reason}" for name, reason in self.broken[:5])

    def _move_up(self, flight: _Flight) -> int:
        """Close the gaps that broken images leave in an evaluation batch; returns the number of valid rows."""
        good = np.flatnonzero(flight.indices >= 0)
        valid = len(good)
        if valid and good[-1] >= valid:
            image = self._ring.batches[flight.slot]
            image[:valid] = image[good]
            image[valid:] = 0
            flight.indices[:valid] = flight.indices[good]
            flight.indices[valid:] = -1
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


def worker_count(wanted: int | None) -> int:
    """How many worker processes: as wanted, else one core is left to the training; 0 where none can be started."""
    if os.name != "posix":
        return 0
    return max(1, min(16, cores() - 1)) if wanted is None else wanted


def _hire(setup: Setup, ring: Ring, workers: int) -> Crew:
    return ProcessCrew(setup, ring, workers) if workers else ThreadCrew(setup, ring)


def _dismiss(crew: Crew, ring: Ring) -> None:
    crew.close()
    ring.close()
