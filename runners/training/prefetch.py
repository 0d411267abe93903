"""Batches taken ahead of their turn: while devices work on one, the next is on its way up to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from netspec.contract.kernel import Phase
from netspec.errors import NetspecError
from netspec.runners.execution.session import Outcome, Rates

Arrays = Mapping[str, np.ndarray[Any, Any]]


class Trainer(Protocol):
    """What training and evaluation need of a Session."""

    @property
    def ahead(self) -> bool:
        """Whether devices work by themselves once started."""

    def stage(self, arrays: Arrays, phase: Phase = "train") -> None:
        """Take a batch."""

    def start(self, iteration: int, valid: int, rates: Rates, phase: Phase = "train") -> None:
        """Begin to work on it."""

    def finish(self, phase: Phase = "train") -> Outcome:
        """Wait for the end."""


class Images(Protocol):
    """A batch as the data pipeline hands it over."""

    image: np.ndarray[Any, Any]
    label: np.ndarray[Any, Any]
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


@dataclass(slots=True)
class Taken:
    """A batch and its arrays by network input; ``at`` is when it was there, ``early`` whether it has been staged."""

    batch: Images
    arrays: Arrays
    at: float
    early: bool


@dataclass(slots=True)
class Flight:
    """An iteration that has been started, and when."""

    taken: Taken
    rates: Rates
    started: float

    def idle(self, following: Taken | None, seconds: float | None) -> float:
        """Seconds for which data kept devices waiting, beginning with this iteration's batch.

        ``following`` is the next batch where it was taken meanwhile; waiting for it counts from the moment when the
        devices were done, after ``seconds`` of work.
        """
        waited = 0.0 if self.taken.early else self.taken.batch.waited
        if following is None:
            return waited
        over = following.at - (self.started + (seconds or 0.0))
        return waited + min(max(over, 0.0), following.batch.waited)


class Ahead:
    """Batches in order, of which one may be taken and staged before its turn.

    What goes wrong with it is raised in its turn, when the iteration that ran meanwhile is over.
    """

    def __init__(
        self, session: Trainer, batches: Iterator[Images], names: tuple[str, str], phase: Phase = "train"
    ) -> None:
        self._session, self._batches, self._names, self._phase = session, batches, names, phase
        self._early: Taken | None = None
        self._error: NetspecError | None = None

    def take(self) -> Taken | None:
        """The next batch, None at the end. Raises NetspecError where it cannot be had."""
        if self._error is not None:
            raise self._error
        early, self._early = self._early, None
        return early or self._next(early=False)

    def start(self, taken: Taken, iteration: int, rates: Rates) -> Flight:
        """Begin to work on a batch."""
        if not taken.early:
            self._session.stage(taken.arrays, self._phase)
        started = time.perf_counter()
        self._session.start(iteration, taken.batch.valid, rates, self._phase)
        return Flight(taken, rates, started)

    def look(self) -> Taken | None:
        """Take the next batch before its turn and stage it, where devices are at work on another."""
        if self._session.ahead:
            try:
                self._early = self._next(early=True)
                if self._early is not None:
                    self._session.stage(self._early.arrays, self._phase)
            except NetspecError as error:
                self._early, self._error = None, error
        return self._early

    def give_back(self) -> None:
        """Release a batch that was taken early and is not wanted any more."""
        early, self._early = self._early, None
        if early is not None:
            early.batch.release()

    def _next(self, early: bool) -> Taken | None:
        batch = next(self._batches, None)
        if batch is None:
            return None
        image, label = self._names
        return Taken(batch, {image: batch.image, label: batch.label}, time.perf_counter(), early)
