"""The replicas of a batch one after the other on one bound program, see netspec.planning.replica_tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from netspec.planning.identities import BufferKey
from netspec.planning.plan import Plan
from netspec.planning.replica_tree import turn_of
from netspec.runners.execution.base import Counters, Runner
from netspec.runners.execution.bound import BoundProgram, Host


class Replica(NamedTuple):
    """A part of a batch: its rows of the batch, how many of them count, and their share of all that count."""

    number: int
    turn: int
    arrays: Mapping[str, Host]
    valid: int
    share: float

    def enter(self, bound: BoundProgram) -> None:
        """Have the program's steps be those of this replica's turn."""
        bound.turn.replica, bound.turn.number = self.number, self.turn


@dataclass(frozen=True, slots=True)
class Assigned:
    """The replicas that a process works: ``count`` of them, from number ``first`` on."""

    first: int
    count: int

    def cut(self, arrays: Mapping[str, Host], valid: int) -> Iterator[Replica]:
        """The process's rows of a batch, replica by replica; of the whole batch the first ``valid`` rows count."""
        for place in range(self.count):
            rows = {name: _rows(array, place, self.count) for name, array in arrays.items()}
            size = max((len(array) for array in rows.values()), default=0)
            number = self.first + place
            counted = min(max(valid - number * size, 0), size)
            yield Replica(number, turn_of(place), rows, counted, counted / valid if valid else 0.0)


def assigned(plan: Plan, rank: int) -> Assigned:
    """The replicas of a process, which has the plan's steps."""
    count = plan.replicas // plan.processes
    return Assigned(rank * count if plan.processes > 1 else 0, count)


def _rows(array: Host, place: int, count: int) -> Host:
    size = len(array) // count
    return array[place * size : (place + 1) * size]


class ReplicaRunner(Runner):
    """Has another runner work each replica in turn; the last one's turn ends with the update.

    ``stage`` keeps what it is given: the arrays must hold until ``finish``.
    """

    def __init__(self, inner: Runner, replicas: Assigned) -> None:
        super().__init__(inner.bound)
        self.inner, self.replicas = inner, replicas
        self.ahead = inner.ahead
        self.news = inner.news
        self._staged: Mapping[str, Host] | None = None
        self._seconds: float | None = None

    @property
    def captured(self) -> bool:  # type: ignore[override]
        """Whether iterations are replayed as graphs."""
        return self.inner.captured

    def stage(self, arrays: Mapping[str, Host]) -> None:
        """See Runner."""
        self._staged = arrays

    def start(self, counters: Counters, rates: Sequence[float]) -> None:
        """See Runner; returns when the last replica has been begun."""
        arrays, self._staged = self._staged, None
        if arrays is None:
            raise RuntimeError("an iteration was started before its batch was staged")
        iteration, valid = counters
        self._seconds = None
        for replica in self.replicas.cut(arrays, valid):
            self.inner.stage(replica.arrays)
            if replica.number > self.replicas.first:
                self._ended()
            replica.enter(self.bound)
            self.inner.start((iteration, replica.valid), [*rates, replica.share])

    def finish(self) -> float | None:
        """See Runner: the seconds are those of all replicas."""
        self._ended()
        return self._seconds

    def _ended(self) -> None:
        """Wait for the replica under way."""
        seconds = self.inner.finish()
        self._seconds = seconds if self._seconds is None or seconds is None else self._seconds + seconds

    def read(self, buffer: BufferKey) -> Host:
        """See Runner."""
        return self.inner.read(buffer)

    def close(self) -> None:
        """See Runner."""
        self.inner.close()
