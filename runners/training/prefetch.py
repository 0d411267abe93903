"""The prefetcher: while devices work on one batch, the next is fetched and copied to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from netspec.contract.kernel import Phase
from netspec.errors import NetspecError
from netspec.planning.rates import Rates
from netspec.runners.execution.session import Outcome
from netspec.runners.execution.trace import Trace

Arrays = Mapping[str, np.ndarray[Any, Any]]


class SessionLike(Protocol):
    """What training and evaluation need of a Session."""

    @property
    def ahead(self) -> bool:
        """Whether devices work asynchronously once started."""

    def depth(self) -> int:
        """How many iterations of training may be started before the first of them is finished."""

    def stage(self, arrays: Arrays, phase: Phase = "train") -> None:
        """Copy a batch to where ``start`` will read it."""

    def start(self, iteration: int, valid: int, rates: Rates, phase: Phase = "train") -> None:
        """Begin an iteration on the staged batch."""

    def finish(self, phase: Phase = "train") -> Outcome:
        """Wait for the iteration's end."""

    def answer(self, phase: Phase, valid: int) -> np.ndarray[Any, Any] | None:
        """The network's answer to the batch that has been finished."""


class HostBatch(Protocol):
    """A batch as the data pipeline hands it over."""

    image: np.ndarray[Any, Any]
    label: np.ndarray[Any, Any]
    indices: np.ndarray[Any, Any]
    beside: Arrays
    named: Arrays
    mixed: Arrays
    valid: int
    waited: float
    release: Callable[[], None]


class Batches(Protocol):
    """What training and evaluation need of a data pipeline: ``batches`` an epoch, and the epochs themselves."""

    batches: int

    @property
    def split(self) -> Sized:
        """The images."""

    @property
    def broken(self) -> Sequence[tuple[str, str]]:
        """Name and reason of each image that could not be read so far."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of an epoch from number ``start`` on."""


class TracedBatches:
    """A pipeline with a span in the trace for each batch: which it was, and how long the consumer waited for it."""

    def __init__(self, pipeline: Batches, trace: Trace, name: str) -> None:
        self.pipeline, self.trace, self.name = pipeline, trace, name
        self.batches, self.split = pipeline.batches, pipeline.split

    @property
    def broken(self) -> Sequence[tuple[str, str]]:
        """As the pipeline's."""
        return self.pipeline.broken

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """As the pipeline's."""
        began = self.trace.now()
        for batch in self.pipeline.epoch(epoch, start):
            details = {"epoch": epoch, "valid": batch.valid, "waited_ms": batch.waited * 1e3}
            self.trace.span("host", f"{self.name} data", f"batch {batch.number}", began, details, "data")
            yield batch
            began = self.trace.now()


@dataclass(slots=True)
class Fetched:
    """A batch and its arrays by network input; ``at`` is when it arrived, ``staged`` whether devices have it."""

    batch: HostBatch
    arrays: Arrays
    at: float
    staged: bool


@dataclass(slots=True)
class InFlight:
    """An iteration that has been started; ``started``: when devices could begin with it."""

    fetched: Fetched
    rates: Rates
    started: float

    def idle(self, following: Fetched | None, seconds: float | None) -> float:
        """Seconds for which data kept devices waiting, beginning with this iteration's batch.

        ``following`` is the next batch where it was prefetched meanwhile; waiting for it counts from the moment when
        the devices were done, after ``seconds`` of work.
        """
        waited = 0.0 if self.fetched.staged else self.fetched.batch.waited
        if following is None:
            return waited
        over = following.at - (self.started + (seconds or 0.0))
        return waited + min(max(over, 0.0), following.batch.waited)


class Prefetcher:
    """Batches in order, of which one may be fetched and staged while an iteration runs.

    An error of a prefetched batch is raised when the batch is due, after the iteration that ran meanwhile.
    """

    def __init__(
        self,
        session: SessionLike,
        batches: Iterator[HostBatch],
        names: tuple[str | None, str | None],
        phase: Phase = "train",
    ) -> None:
        self._session, self._batches, self._names, self._phase = session, batches, names, phase
        self._next: Fetched | None = None
        self._error: NetspecError | None = None

    def next(self) -> Fetched | None:
        """The next batch, None at the end. Raises NetspecError where it cannot be had."""
        if self._error is not None:
            raise self._error
        prefetched, self._next = self._next, None
        return prefetched or self._fetch(staged=False)

    def start(self, fetched: Fetched, iteration: int, rates: Rates) -> InFlight:
        """Begin an iteration on a batch."""
        if not fetched.staged:
            self._session.stage(fetched.arrays, self._phase)
        started = time.perf_counter()
        self._session.start(iteration, fetched.batch.valid, rates, self._phase)
        return InFlight(fetched, rates, started)

    def prefetch(self) -> Fetched | None:
        """Fetch and stage the next batch where devices work asynchronously; None elsewhere and at the end."""
        if self._session.ahead:
            try:
                self._next = self._fetch(staged=True)
                if self._next is not None:
                    self._session.stage(self._next.arrays, self._phase)
            except NetspecError as error:
                self._next, self._error = None, error
        return self._next

    def release(self) -> None:
        """Give back the buffer of a prefetched batch that will not be used."""
        prefetched, self._next = self._next, None
        if prefetched is not None:
            prefetched.batch.release()

    def _fetch(self, staged: bool) -> Fetched | None:
        batch = next(self._batches, None)
        if batch is None:
            return None
        image, label = self._names
        beside = {f"{image}.{name}": values for name, values in batch.beside.items()}
        mixed = {f"{label}.{name}": values for name, values in batch.mixed.items()}
        own = {name: array for name, array in ((image, batch.image), (label, batch.label)) if name is not None}
        arrays = {**own, **beside, **mixed, **batch.named}
        return Fetched(batch, arrays, time.perf_counter(), staged)
