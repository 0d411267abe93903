"""One process: nothing moves."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from netspec.runners.transport.base import Array, Counts, Value


class Alone:
    """See Transport."""

    def __init__(self) -> None:
        self.rank, self.size = 0, 1
        self.hosts: Sequence[str] = (platform.node(),)
        self.ranks: Sequence[int] = (0,)
        self.patience = 0.0

    def alltoall(self, send: Array, counts: Counts, receive: Array) -> None:
        """See Transport: there is nobody else."""

    def allgather(self, values: Array, counts: Counts) -> None:
        """See Transport: all is there."""

    def greatest(self, values: Sequence[int]) -> list[int]:
        """See Transport."""
        return list(values)

    def gather(self, value: Value) -> list[Value]:
        """See Transport."""
        return [value]

    def broadcast(self, value: Value) -> Value:
        """See Transport."""
        return value

    def shared(self, nbytes: int) -> None:
        """See Transport: nothing has to be seen by others."""

    def allocate(self, nbytes: int) -> None:
        """See Transport: there is nobody to see it."""

    def meet(self) -> None:
        """See Transport."""

    def send(self, values: Array, to: int) -> None:
        """See Transport: there is nobody else."""

    def receive(self, values: Array, source: int) -> None:
        """See Transport: there is nobody else."""

    def overdue(self, waited: float) -> str | None:
        """See Transport: nobody is waited for."""
        return None

    def split(self, number: int) -> Alone:
        """See Transport."""
        return self

    def end_all(self, code: int) -> None:
        """See Transport: whoever has failed ends by itself."""

    def close(self) -> None:
        """See Transport."""


ALONE = Alone()
"""The transport of whoever has not been started together with others."""
