"""What a run asks of its transport. All processes, whose ``rank`` counts from 0, make the same calls in one order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

Array = np.ndarray[Any, Any]
Value = TypeVar("Value")
Counts = Sequence[int]
"""Elements that belong to each rank, in the order of ranks."""
AT_ONCE = 4096
"""Bytes up to which a message is on its way whether or not its receiver is there."""


class Transport(Protocol):
    """Moves values between the processes of a run; none of it is summed on the way.

    Whatever waits for other ranks for too long raises NetspecError, which names those that do not answer.
    """

    rank: int
    size: int
    hosts: Sequence[str]
    """Where each rank runs."""
    ranks: Sequence[int]
    """The number that each has in the run."""
    patience: float
    """Seconds that it waits for other ranks."""

    def alltoall(self, send: Array, counts: Counts, receive: Array) -> None:
        """Hand each other rank its part of ``send``, cut by ``counts``.

        ``receive`` gets a row of each one's for this rank, whose own row stays as it is.
        """

    def allgather(self, values: Array, counts: Counts) -> None:
        """Complete ``values``, cut by ``counts``, of which each rank holds its own part."""

    def greatest(self, values: Sequence[int]) -> list[int]:
        """The greatest of all ranks' values, place by place."""

    def gather(self, value: Value) -> list[Value]:
        """All ranks' values, on every rank."""

    def broadcast(self, value: Value) -> Value:
        """Rank 0's value."""

    def shared(self, nbytes: int) -> Sequence[Array] | None:
        """Memory of each rank that all of them see, bytes (nbytes,); None where there is none, on all ranks alike.

        The same memory is given each time. ``meet`` makes seen by all what any rank has written.
        """

    def allocate(self, nbytes: int) -> Sequence[Array] | None:
        """The same, memory of its own, which lasts as long as the transport."""

    def meet(self) -> None:
        """Wait until all ranks are here."""

    def send(self, values: Array, to: int) -> None:
        """Hand contiguous values to a rank, which receives them; may return no sooner than it has."""

    def receive(self, values: Array, source: int) -> None:
        """Fill a contiguous array with what a rank sends; several sends of one arrive in order."""

    def overdue(self, waited: float) -> str | None:
        """What to tell where somebody has waited for so many seconds for other ranks: who does not answer.

        None as long as he is to wait on. Whoever waits asks now and then, and so answers those who ask for him.
        """

    def split(self, number: int) -> Transport:
        """That between the ranks that give the same number, in the order of ranks."""

    def end_all(self, code: int) -> None:
        """End the processes of all ranks when this one ends, which has failed, with that exit code."""

    def close(self) -> None:
        """The run is over on all ranks."""


def named(transport: Transport, rank: int) -> str:
    """A rank for people."""
    return f"rank {transport.ranks[rank]} on {transport.hosts[rank]}"
