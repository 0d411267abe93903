"""The order of steps: dependencies that follow from the regions steps touch, and which step has ended before another.

Steps of one queue run in order, so of all accesses to a place only the last one of each queue has to be known, and what
precedes a step is told by one position for each queue.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any, Generic, Self, TypeVar

from netspec.planning.identities import BufferKey, StepKey
from netspec.planning.plan import Region, Step

Last = TypeVar("Last")
Cell = TypeVar("Cell", bound="Accesses[Any]")
Clock = list[int]


class Clocks:
    """For each step the last position in every queue that has ended before it starts.

    Vector clocks (Fidge 1988; Mattern 1989) with an entry for each queue.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str], int] = {}
        self._last: list[int] = []
        self._queues: list[int] = []
        self._clocks: list[Clock] = []

    def queue(self, step: Step) -> int:
        """The number of a step's queue."""
        number = self._numbers.setdefault((step.key.device, step.queue), len(self._last))
        if number == len(self._last):
            self._last.append(-1)
        return number

    def begin(self, step: Step) -> Clock:
        """The clock of a step that would come next and waits for no other queue."""
        last = self._last[self.queue(step)]
        clock = [] if last < 0 else [*self._clocks[last]]
        self.wait(clock, last)
        return clock

    def wait(self, clock: Clock, position: int) -> None:
        """Let a step with this clock start after another one has ended."""
        if position < 0:
            return
        other, queue = self._clocks[position], self._queues[position]
        clock += [-1] * (max(len(other), queue + 1) - len(clock))
        for number, place in enumerate(other):
            clock[number] = max(clock[number], place)
        clock[queue] = max(clock[queue], position)

    def covers(self, clock: Clock, position: int) -> bool:
        """Whether a step with this clock starts after that one has ended."""
        queue = self._queues[position]
        return queue < len(clock) and clock[queue] >= position

    def append(self, step: Step, clock: Clock) -> int:
        """Add the step; gives its position."""
        position, queue = len(self._clocks), self.queue(step)
        self._last[queue] = position
        self._queues.append(queue)
        self._clocks.append(clock)
        return position

    def precedes(self, first: int, second: int) -> bool:
        """Whether the first step has ended before the second one starts."""
        return self.covers(self._clocks[second], first)


def clocks_of(steps: Iterable[Step]) -> Clocks:
    """The clocks of steps that follow their queues and ``after`` alone."""
    clocks = Clocks()
    positions: dict[StepKey, int] = {}
    for step in steps:
        clock = clocks.begin(step)
        for key in step.after:
            clocks.wait(clock, positions[key])
        positions[step.key] = clocks.append(step, clock)
    return clocks


class Accesses(Generic[Last]):
    """The last access, and the last one that writes, of each queue to one place."""

    def __init__(self) -> None:
        self.all: dict[int, Last] = {}
        self.writes: dict[int, Last] = {}

    def copy(self) -> Self:
        """The same accesses, for a part of the place."""
        other = type(self)()
        other.all, other.writes = dict(self.all), dict(self.writes)
        return other


class OwnAccesses(Accesses[int]):
    """Those to a place in one buffer, by position."""

    def conflicts(self, writes: bool) -> Iterable[int]:
        """Positions of the accesses that one of this kind has to come after."""
        return (self.all if writes else self.writes).values()

    def note(self, queue: int, position: int, writes: bool) -> None:
        """Add an access."""
        self.all[queue] = position
        if writes:
            self.writes[queue] = position


class SharedAccesses(Accesses[tuple[tuple[Hashable, int], ...]]):
    """Those to a place where several buffers lie: the last one, and the last one to another buffer than that."""

    def conflicts(self, buffer: Hashable, writes: bool) -> Iterator[int]:
        """Positions of the accesses to other buffers that one of this kind has to come after."""
        for last in (self.all if writes else self.writes).values():
            yield from islice((position for other, position in last if other != buffer), 1)

    def note(self, buffer: Hashable, queue: int, position: int, writes: bool) -> None:
        """Add an access."""
        for table in (self.all, self.writes) if writes else (self.all,):
            others = [one for one in table.get(queue, ()) if one[0] != buffer]
            table[queue] = ((buffer, position), *others[:1])


class Stretches(Generic[Cell]):
    """A line, cut wherever a range that was asked for begins or ends; a cell for each stretch."""

    def __init__(self, first: Cell) -> None:
        self._starts, self.cells = [0], [first]

    def over(self, start: int, stop: int) -> Sequence[Cell]:
        """The cells of a range."""
        first = self._cut(start)
        return self.cells[first : self._cut(stop)]

    def _cut(self, place: int) -> int:
        index = bisect_left(self._starts, place)
        if index == len(self._starts) or self._starts[index] != place:
            self._starts.insert(index, place)
            self.cells.insert(index, self.cells[index - 1].copy())
        return index


class BufferAccesses:
    """The accesses to one buffer, by range where they are ranges along an axis."""

    def __init__(self) -> None:
        self._whole = OwnAccesses()
        self._axes: dict[int, Stretches[OwnAccesses]] = {}

    def conflicts(self, region: Region, writes: bool) -> Iterator[int]:
        """Positions of accesses that one of this kind to the region has to come after, as far as axes tell."""
        yield from self._whole.conflicts(writes)
        for axis, stretches in self._axes.items():
            cells = stretches.over(region.start, region.stop) if axis == region.axis else stretches.cells
            for cell in cells:
                yield from cell.conflicts(writes)

    def note(self, region: Region, queue: int, position: int, writes: bool) -> None:
        """Add an access."""
        if region.axis is None:
            self._whole.note(queue, position, writes)
            return
        stretches = self._axes.setdefault(region.axis, Stretches(OwnAccesses()))
        for cell in stretches.over(region.start, region.stop):
            cell.note(queue, position, writes)


class SerialSteps:
    """Steps in serial order, without what each must wait for."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._places: dict[StepKey, int] = {}

    def add(self, step: Step) -> None:
        """Append a step. Raises ValueError for a second one of the same identity."""
        if step.key in self._places:
            raise ValueError(f"the step '{step.key}' is in the plan already")
        ordered = self._ordered(step)
        self._places[step.key] = len(self.steps)
        self.steps.append(ordered)

    def _ordered(self, step: Step) -> Step:
        return step


class StepList(SerialSteps):
    """Steps in serial order; adding one finds the earlier steps it must wait for.

    A step waits for earlier writers of what it touches, for earlier readers of what it writes, and for what it names
    itself. Waits that a queue or another wait implies are left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self._clocks = Clocks()
        self._touched: dict[BufferKey, BufferAccesses] = defaultdict(BufferAccesses)

    def _ordered(self, step: Step) -> Step:
        clock = self._clocks.begin(step)
        accesses = step.accesses
        named = (self._places[key] for key in step.after)
        waits = needed(self._clocks, clock, chain(self._conflicts(accesses), named))
        position, queue = self._clocks.append(step, clock), self._clocks.queue(step)
        for region, writes in accesses:
            self._touched[region.buffer].note(region, queue, position, writes)
        return replace(step, after=tuple(self.steps[number].key for number in waits)) if waits or step.after else step

    def _conflicts(self, accesses: Iterable[tuple[Region, bool]]) -> Iterator[int]:
        for region, writes in accesses:
            yield from self._touched[region.buffer].conflicts(region, writes)


def needed(clocks: Clocks, clock: Clock, waits: Iterable[int]) -> list[int]:
    """Those positions that the clock and the other ones do not imply, in order; the clock then covers them all."""
    found = []
    for position in sorted(set(waits), reverse=True):
        if not clocks.covers(clock, position):
            found.append(position)
            clocks.wait(clock, position)
    return found[::-1]
