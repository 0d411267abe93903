"""Who touched which word of memory, and when: two threads that do with nothing between them are a race.

A stamp is a number that holds the time, the thread and the line of an access. Time passes at barriers only. Each word
(or byte, or four words, by the widths of accesses) has the stamps of its last write, of its last read, and of the last
read before that by another thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from netspec.emulate.fault import Fault
from netspec.emulate.memory import Array, Space

LINE_BITS, THREAD_BITS, CLOCK_BITS = 14, 24, 25
_THREAD = ((1 << THREAD_BITS) - 1) << LINE_BITS
_CLOCK = LINE_BITS + THREAD_BITS
_WRITE, _READ, _OTHER, _ATOMIC = range(4)
_UNITS = (1, 4, 16)
"""Bytes that have a stamp together: those of accesses of at least so many."""


class Clock:
    """Time for all launches on a memory; where it has run out, stamps are forgotten."""

    def __init__(self) -> None:
        self.now = 0

    def tick(self) -> int:
        """A new time."""
        self.now += 1
        if self.now >= 1 << CLOCK_BITS:
            raise Fault("a launch has more barriers than the emulator counts")
        return self.now

    def begin(self, spaces: Sequence[Space]) -> int:
        """The time at which a launch starts."""
        if self.now > 1 << CLOCK_BITS - 1:
            self.now = 0
            for one in spaces:
                one.clear_stamps()
        return self.tick()


class Touch(NamedTuple):
    """An access: rows of ``size`` bytes, stamped by ``unit`` bytes, by threads ``lanes``; their stamps."""

    space: Space
    size: int
    unit: int
    rows: Array
    lanes: Array | None
    mine: Array

    @property
    def each(self) -> Array:
        """The stamps, for each unit of a row."""
        return self.mine if self.size == self.unit else self.mine[:, None]


class Races:
    """The stamps of one launch's threads. ``first`` is the number of a frame's first thread in the launch."""

    def __init__(self, clock: Clock, count: int, per_block: int, first: int, start: int, lines: list[str]) -> None:
        if first + count > 1 << THREAD_BITS:
            raise Fault(f"more than {1 << THREAD_BITS:,} threads in a launch: too many for the emulator")
        self.clock, self.per_block, self.lines = clock, per_block, lines
        self.start = start << _CLOCK
        """Stamps from here on are this launch's."""
        self.first = first
        self.threads = (np.arange(count, dtype=np.int64) + first) << LINE_BITS
        self.together = np.full(count, start << _CLOCK, np.int64)
        """Since when a thread's block has been together (the last barrier), and its warp."""
        self.warp_together = self.together.copy()
        self.eldest = self.start
        """The earliest of the last barriers."""
        self.stamps = self.threads + (clock.now << _CLOCK)

    def barrier(self, threads: Array) -> None:
        """These threads, whole blocks, have met."""
        now = self.clock.tick() << _CLOCK
        self.together[threads] = self.warp_together[threads] = now
        self.eldest = int(self.together.min())
        np.add(self.threads, now, out=self.stamps)

    def warp_barrier(self, threads: Array) -> None:
        """These threads, of each warp all that are named, have met."""
        now = self.clock.tick() << _CLOCK
        self.warp_together[threads] = now
        np.add(self.threads, now, out=self.stamps)

    def read(self, space: Space, size: int, rows: Array, lanes: Array | None, line: int, strong: bool = False) -> None:
        """Threads read a row of bytes each; Fault where another has written them meanwhile.

        A strong read is no race with atomic operations, before it or after.
        """
        touch = self._touch(space, size, rows, lanes, line)
        self._compare(touch, _WRITE, "read", "written")
        if strong:
            return
        self._compare_with_atomics(touch, "read")
        reads = space.stamps(_READ, touch.unit, size)
        before, mine = reads[rows], touch.each
        reads[rows] = mine
        recent = before >= self._oldest(space)
        if recent.any():
            _note_others(touch, before, recent & (((before ^ mine) & _THREAD) != 0))
        crowd = reads[rows] != mine
        if crowd.any():  # several threads read one word at once
            _note_others(touch, np.broadcast_to(mine, crowd.shape), crowd)

    def write(self, space: Space, size: int, rows: Array, lanes: Array | None, line: int) -> None:
        """Threads write a row of bytes each; Fault where another has read or written them meanwhile."""
        touch = self._touch(space, size, rows, lanes, line)
        for kind, word in ((_WRITE, "written"), (_READ, "read"), (_OTHER, "read")):
            self._compare(touch, kind, "written", word)
        self._compare_with_atomics(touch, "written")
        writes = space.stamps(_WRITE, touch.unit, size)
        writes[rows] = touch.each
        after = writes[rows]
        twice = after != touch.each
        if twice.any():
            place, *_ = np.nonzero(twice)
            raise self._fault(touch, int(place[0]), int(after[twice][0]), "written", "written")

    def atomic(self, space: Space, size: int, rows: Array, lanes: Array | None, line: int) -> None:
        """Threads change a word each, atomically: no race with others that do so too, with all else it is."""
        touch = self._touch(space, size, rows, lanes, line)
        for kind, word in ((_WRITE, "written"), (_READ, "read"), (_OTHER, "read")):
            self._compare(touch, kind, "changed", word)
        space.stamps(_ATOMIC, touch.unit, size)[rows] = touch.each
        space.has_atomics = True

    def _compare_with_atomics(self, touch: Touch, did: str) -> None:
        if touch.space.has_atomics:
            self._compare(touch, _ATOMIC, did, "changed atomically")

    def _touch(self, space: Space, size: int, rows: Array, lanes: Array | None, line: int) -> Touch:
        stamps = self.stamps if lanes is None else self.stamps[lanes]
        unit = max(one for one in _UNITS if one <= size)
        return Touch(space, size, unit, rows, lanes, stamps + line)

    def _oldest(self, space: Space) -> int:
        """Stamps before are of no account, whosesoever they are."""
        return self.eldest if space.private else self.start

    def _compare(self, touch: Touch, kind: int, did: str, other: str) -> None:
        """With the stamps of accesses of the same width, and of wider and narrower ones where there were any."""
        oldest = self._oldest(touch.space)
        for unit in touch.space.units:
            size = max(unit, touch.size)
            rows = touch.rows if size == touch.size else touch.rows * touch.size // size
            stamps = touch.space.stamps(kind, unit, size)[rows]
            recent = stamps >= oldest
            if recent.any():
                self._suspect(touch, stamps, recent, did, other)

    def _suspect(self, touch: Touch, stamps: Array, recent: Array, did: str, other: str) -> None:
        """Only what other threads of this launch have done counts; in shared memory, since the last barrier."""
        flat = stamps.ndim == 1
        mine = touch.mine if flat else touch.mine[:, None]
        suspects = recent & (((stamps ^ mine) & _THREAD) != 0)
        if touch.space.private:
            since = self.together if touch.lanes is None else self.together[touch.lanes]
            suspects &= stamps >= (since if flat else since[:, None])
        if suspects.any():
            self._judge(touch, stamps, suspects, did, other)

    def _judge(self, touch: Touch, stamps: Array, suspects: Array, did: str, other: str) -> None:
        """Threads of one block are in order across a barrier, those of one warp across a barrier of the warp."""
        places, *_ = np.nonzero(suspects)
        theirs = stamps[suspects]
        index = places if touch.lanes is None else touch.lanes[places]
        own, their = index + self.first, (theirs & _THREAD) >> LINE_BITS
        block, warp = own // self.per_block, own % self.per_block // 32
        same_block = block == their // self.per_block
        same_warp = same_block & (warp == their % self.per_block // 32)
        ordered = same_block & (theirs < self.together[index]) | same_warp & (theirs < self.warp_together[index])
        if not ordered.all():
            bad = int(ordered.argmin())
            raise self._fault(touch, int(places[bad]), int(theirs[bad]), did, other)

    def _fault(self, touch: Touch, place: int, stamp: int, did: str, other: str) -> Fault:
        own = int(touch.mine[place])
        address = touch.space.base + int(touch.rows[place]) * touch.size
        return Fault(
            f"race: {touch.space.name} at {address:#x} is {did} by {self._thread(own)} and {other} by "
            f"{self._thread(stamp)}, with no barrier between: {self._line(own)} and {self._line(stamp)}"
        )

    def _thread(self, stamp: int) -> str:
        number = (stamp & _THREAD) >> LINE_BITS
        return f"thread {number % self.per_block} of block {number // self.per_block}"

    def _line(self, stamp: int) -> str:
        number = stamp & ((1 << LINE_BITS) - 1)
        return f"line {number} ({self.lines[number - 1].strip().rstrip(';')})"


def _note_others(touch: Touch, stamps: Array, which: Array) -> None:
    """Keep what another thread's read has left, beside the last one's."""
    others = touch.space.stamps(_OTHER, touch.unit, touch.unit)
    parts = touch.size // touch.unit
    places = touch.rows if parts == 1 else touch.rows[:, None] * parts + np.arange(parts)
    others[places[which]] = stamps[which]
