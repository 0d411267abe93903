"""What a Session asks of any runner: a batch is staged, an iteration started and finished, results read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netspec.planning.identities import BufferKey
from netspec.runners.execution.bound import BoundProgram, Host

Counters = tuple[int, int]
"""The iteration, and how many rows of the batch count."""


class Runner:
    """A runner of one bound program; this one's ``start`` returns when the iteration is over."""

    ahead = False
    """Whether devices work by themselves after ``start``, so that the next batch can be staged meanwhile."""
    captured = False
    """Whether iterations are replayed as a graph."""

    @property
    def depth(self) -> int:
        """How many iterations may be under way at once: started, and not finished."""
        return 1

    def __init__(self, bound: BoundProgram) -> None:
        self.bound = bound
        self.news: list[str] = []
        """Lines for people that came up while it ran; whoever tells them empties the list."""

    def stage(self, arrays: Mapping[str, Host]) -> None:
        """Take the batch of the next iteration; ``arrays`` can be overwritten when it returns."""
        self.bound.put(arrays)

    def start(self, counters: Counters, rates: Sequence[float]) -> None:
        """Begin an iteration on the batch staged last. Raises NetspecError naming the step or device that failed."""
        self.bound.set(counters, rates)
        self.run()

    def finish(self) -> float | None:
        """Wait for the end of the iteration that was started first; the seconds that devices worked on it, if known.

        Raises NetspecError as ``start`` does.
        """
        return None

    def drain(self) -> None:
        """Wait for whatever is under way still."""

    def read(self, buffer: BufferKey) -> Host:
        """What the iteration left in a report, a verdict or the network's answer; holds until the next ``start``.

        Of several under way it is the one that was finished last, until its input buffers take another batch.
        """
        return self.bound.download(buffer)

    def run(self) -> None:
        """One iteration from start to end on what has been put in place."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back threads and wait for what is on its way."""
