"""Who touched which word of memory, and when: two threads that do with nothing between them are a race.

A stamp is a number that holds the time, the thread and the line of an access. Time passes at barriers only. Each word
has the stamps of its last write, of its last read, and of the last read before that by another thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from netspec.emulate.fault import Fault
from netspec.emulate.memory import Array, Space

LINE_BITS, THREAD_BITS, CLOCK_BITS = 14, 24, 25
_THREAD = ((1 << THREAD_BITS) - 1) << LINE_BITS
_CLOCK = LINE_BITS + THREAD_BITS
_WRITE, _READ, _OTHER = range(3)
_WORD = 4


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
        self.stamps = self.threads + (clock.now << _CLOCK)

    def barrier(self, threads: Array) -> None:
        """These threads, whole blocks, have met."""
        now = self.clock.tick() << _CLOCK
        self.together[threads] = self.warp_together[threads] = now
        np.add(self.threads, now, out=self.stamps)

    def warp_barrier(self, threads: Array) -> None:
        """These threads, of each warp all that are named, have met."""
        now = self.clock.tick() << _CLOCK
        self.warp_together[threads] = now
        np.add(self.threads, now, out=self.stamps)

    def read(self, space: Space, size: int, rows: Array, lanes: Array | None, line: int, shared: bool) -> None:
        """Threads read a row of words each; Fault where another has written them meanwhile."""
        mine = self._mine(lanes, line, size)
        self._compare(space, _WRITE, size, rows, lanes, mine, shared, "read")
        reads = space.stamps(_READ, size)
        before = reads[rows]
        changes = ((before ^ mine) & _THREAD) != 0
        reads[rows] = mine
        if changes.any():
            self._note_others(space, size, rows, mine, before, changes)
        crowd = reads[rows] != mine
        if crowd.any():  # several threads read one word at once
            self._note_others(space, size, rows, mine, np.broadcast_to(mine, crowd.shape), crowd)

    def _note_others(self, space: Space, size: int, rows: Array, mine: Array, stamps: Array, which: Array) -> None:
        others = space.stamps(_OTHER, _WORD)
        words = rows if size == _WORD else rows[:, None] * (size // _WORD) + np.arange(size // _WORD)
        others[words[which]] = stamps[which]

    def write(self, space: Space, size: int, rows: Array, lanes: Array | None, line: int, shared: bool) -> None:
        """Threads write a row of words each; Fault where another has read or written them meanwhile."""
        mine = self._mine(lanes, line, size)
        for kind, word in ((_WRITE, "written"), (_READ, "read"), (_OTHER, "read")):
            self._compare(space, kind, size, rows, lanes, mine, shared, "written", word)
        writes = space.stamps(_WRITE, size)
        writes[rows] = mine
        twice = writes[rows] != mine
        if twice.any():
            place = int(np.flatnonzero(twice.reshape(len(rows), -1).any(axis=1))[0])
            stamp = int(np.asarray(writes[rows[place]]).reshape(-1)[twice.reshape(len(rows), -1)[place].argmax()])
            raise self._fault(space, size, rows, place, mine, stamp, "written", "written")

    def _mine(self, lanes: Array | None, line: int, size: int) -> Array:
        stamps = self.stamps if lanes is None else self.stamps[lanes]
        mine: Array = stamps + line
        return mine if size == _WORD else mine[:, None]

    def _compare(
        self,
        space: Space,
        kind: int,
        size: int,
        rows: Array,
        lanes: Array | None,
        mine: Array,
        shared: bool,
        did: str,
        other: str = "written",
    ) -> None:
        stamps = space.stamps(kind, size)[rows]
        since: Any = self.start
        if shared:
            since = self.together if lanes is None else self.together[lanes]
            since = since if size == _WORD else since[:, None]
        suspects = (stamps >= since) & (((stamps ^ mine) & _THREAD) != 0)
        if suspects.any():
            self._judge(space, size, rows, lanes, mine, stamps, suspects, did, other)

    def _judge(
        self,
        space: Space,
        size: int,
        rows: Array,
        lanes: Array | None,
        mine: Array,
        stamps: Array,
        suspects: Array,
        did: str,
        other: str,
    ) -> None:
        """Threads of one block are in order across a barrier, those of one warp across a barrier of the warp."""
        places, *_ = np.nonzero(suspects)
        theirs = stamps[suspects]
        index = places if lanes is None else lanes[places]
        own, their = index + self.first, (theirs & _THREAD) >> LINE_BITS
        block, warp = own // self.per_block, own % self.per_block // 32
        same_block = block == their // self.per_block
        same_warp = same_block & (warp == their % self.per_block // 32)
        ordered = same_block & (theirs < self.together[index]) | same_warp & (theirs < self.warp_together[index])
        if not ordered.all():
            bad = int(np.flatnonzero(~ordered)[0])
            raise self._fault(space, size, rows, int(places[bad]), mine, int(theirs[bad]), did, other)

    def _fault(
        self, space: Space, size: int, rows: Array, place: int, mine: Array, stamp: int, did: str, other: str
    ) -> Fault:
        own = int(mine.reshape(-1)[place])
        address = space.base + int(rows[place]) * size
        return Fault(
            f"race: {space.name} at {address:#x} is {did} by {self._thread(own)} and {other} by {self._thread(stamp)}, "
            f"with no barrier between: {self._line(own)} and {self._line(stamp)}"
        )

    def _thread(self, stamp: int) -> str:
        number = (stamp & _THREAD) >> LINE_BITS
        return f"thread {number % self.per_block} of block {number // self.per_block}"

    def _line(self, stamp: int) -> str:
        number = stamp & ((1 << LINE_BITS) - 1)
        return f"line {number} ({self.lines[number - 1].strip().rstrip(';')})"
