"""Data-race detector with shadow memory: two accesses to one word, one a write, with no barrier between them.

A shadow cell packs the epoch, thread and line of PTX of an access; epochs advance at barriers only. Each word (or byte,
or four words, by the widths of accesses) has cells for its last write, its last read, the last read before that by
another thread, and its last atomic operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from netspec.emulate.fault import Fault, Site
from netspec.emulate.memory import AddressSpace, Array

if TYPE_CHECKING:
    from netspec.emulate.frame import Frame

LINE_BITS, THREAD_BITS, CLOCK_BITS = 14, 24, 25
_THREAD = ((1 << THREAD_BITS) - 1) << LINE_BITS
_CLOCK = LINE_BITS + THREAD_BITS
_WRITE, _READ, _OTHER, _ATOMIC = range(4)
_UNITS = {1: 1, 2: 1, 4: 4, 8: 4, 16: 16}
"""Granularities of shadow cells by the size of an access, both in bytes."""


class Clock:
    """Epochs of all launches on a memory; near overflow shadow memory is cleared."""

    def __init__(self) -> None:
        self.now = 0

    def tick(self) -> int:
        """Begin a new epoch."""
        self.now += 1
        if self.now >= 1 << CLOCK_BITS:
            raise Fault("a launch has more barriers than the emulator counts")
        return self.now

    def begin(self, spaces: Sequence[AddressSpace]) -> int:
        """The epoch in which a launch starts."""
        if self.now > 1 << CLOCK_BITS - 1:
            self.now = 0
            for one in spaces:
                one.clear_shadow()
        return self.tick()


class Access(NamedTuple):
    """An access to rows of ``size`` bytes by threads ``lanes``, with their cells at granularity ``unit``."""

    space: AddressSpace
    size: int
    unit: int
    rows: Array
    lanes: Array | None
    mine: Array

    @property
    def each(self) -> Array:
        """The cells, for each unit of a row."""
        return self.mine if self.size == self.unit else self.mine[:, None]


class RaceDetector:
    """Detects races of a frame's threads in a launch that begins with the epoch ``start``."""

    def __init__(self, clock: Clock, frame: Frame, start: int) -> None:
        count, first = frame.count, frame.blocks.start * frame.per_block
        if first + count > 1 << THREAD_BITS:
            raise Fault(f"more than {1 << THREAD_BITS:,} threads in a launch: too many for the emulator")
        self.clock, self.frame, self.per_block = clock, frame, frame.per_block
        self.start = start << _CLOCK
        """Cells from here on are this launch's."""
        self.first = first
        """The launch-wide number of the frame's first thread."""
        self.threads = (np.arange(count, dtype=np.int64) + first) << LINE_BITS
        self.block_epoch = np.full(count, start << _CLOCK, np.int64)
        """Epochs of the last barrier of each thread's block, and of its warp."""
        self.warp_epoch = self.block_epoch.copy()
        self.oldest_epoch = self.start
        """The earliest of the blocks' last barriers."""
        self.cells = self.threads + (clock.now << _CLOCK)
        warps = -(-frame.per_block // 32)
        self.seen = np.full((len(frame.blocks), warps, warps), start << _CLOCK, np.int64)
        """By block: accesses of a warp (the last axis) before this are ordered before what another warp does next."""

    def barrier(self, threads: Array) -> None:
        """These threads, whole blocks, have passed a barrier."""
        now = self.clock.tick() << _CLOCK
        self.block_epoch[threads] = self.warp_epoch[threads] = now
        self.seen[threads[:: self.per_block] // self.per_block] = now
        self.oldest_epoch = int(self.block_epoch.min())
        np.add(self.threads, now, out=self.cells)

    def warp_barrier(self, threads: Array) -> None:
        """These threads have passed a barrier of their warps."""
        now = self.clock.tick() << _CLOCK
        self.warp_epoch[threads] = now
        np.add(self.threads, now, out=self.cells)

    def group_barrier(self, threads: Array) -> None:
        """These threads of one block have passed a barrier of theirs."""
        now = self.clock.tick() << _CLOCK
        block, warps = threads[0] // self.per_block, np.unique(threads % self.per_block // 32)
        row = self.seen[block, warps].max(axis=0)
        row[warps] = now
        self.seen[block, warps] = row
        self.warp_epoch[threads] = now
        np.add(self.threads, now, out=self.cells)

    def release(self, thread: int, before: Array | None) -> Array:
        """What a thread's arrival at a barrier object orders before those that wait: by warp, as ``seen``.

        ``before`` is what other arrivals have released there.
        """
        block, warp = self._warp(thread)
        row: Array = self.seen[block, warp].copy()
        row[warp] = self.clock.tick() << _CLOCK
        np.add(self.threads, row[warp], out=self.cells)
        return row if before is None else np.maximum(row, before)

    def acquire(self, thread: int, released: Array | None) -> None:
        """A thread has waited for what others have released."""
        if released is not None:
            block, warp = self._warp(thread)
            np.maximum(self.seen[block, warp], released, out=self.seen[block, warp])

    def follows(self, thread: int, other: int, released: Array) -> bool:
        """Whether another thread of its block released that before what the thread does next."""
        (block, warp), (_, theirs) = self._warp(thread), self._warp(other)
        return bool(warp == theirs or self.seen[block, warp, theirs] >= released[theirs])

    def sees(self, thread: int, warps: Array, epochs: Array) -> Any:
        """Whether what warps of its block did up to those epochs is ordered before what the thread does next."""
        block, warp = self._warp(thread)
        return self.seen[block, warp, warps] > epochs

    def epoch(self) -> int:
        """The epoch of what is done now."""
        return self.clock.now << _CLOCK

    def _warp(self, thread: int) -> tuple[int, int]:
        return thread // self.per_block, thread % self.per_block // 32

    def read(
        self, space: AddressSpace, size: int, rows: Array, lanes: Array | None, line: int, strong: bool = False
    ) -> None:
        """Threads read a row of bytes each; Fault where another has written them meanwhile.

        A strong read is no race with atomic operations, before it or after.
        """
        access = self._access(space, size, rows, lanes, line)
        self._compare(access, _WRITE, "read", "written")
        if strong:
            return
        self._compare_with_atomics(access, "read")
        reads = space.shadow(_READ, access.unit, size)
        mine, oldest = access.each, self._oldest(space)
        before = reads[rows] if space.newest.get((_READ, access.unit), 0) > oldest else None
        reads[rows] = mine
        self._note_newest(access, _READ)
        if before is not None and np.count_nonzero(recent := before >= oldest):
            self._note_others(access, before, recent & (((before ^ mine) & _THREAD) != 0))
        crowd = reads[rows] != mine
        if np.count_nonzero(crowd):  # several threads read one word at once
            self._note_others(access, mine if mine.shape == crowd.shape else np.broadcast_to(mine, crowd.shape), crowd)

    def write(self, space: AddressSpace, size: int, rows: Array, lanes: Array | None, line: int) -> None:
        """Threads write a row of bytes each; Fault where another has read or written them meanwhile."""
        access = self._access(space, size, rows, lanes, line)
        for kind, word in ((_WRITE, "written"), (_READ, "read"), (_OTHER, "read")):
            self._compare(access, kind, "written", word)
        self._compare_with_atomics(access, "written")
        writes = space.shadow(_WRITE, access.unit, size)
        writes[rows] = access.each
        self._note_newest(access, _WRITE)
        after = writes[rows]
        twice = after != access.each
        if np.count_nonzero(twice):
            place, *_ = np.nonzero(twice)
            raise self._fault(access, int(place[0]), int(after[twice][0]), "written", "written")

    def atomic(self, space: AddressSpace, size: int, rows: Array, lanes: Array | None, line: int) -> None:
        """Threads change a word each, atomically: no race with others that do so too, with all else it is."""
        access = self._access(space, size, rows, lanes, line)
        for kind, word in ((_WRITE, "written"), (_READ, "read"), (_OTHER, "read")):
            self._compare(access, kind, "changed", word)
        space.shadow(_ATOMIC, access.unit, size)[rows] = access.each
        self._note_newest(access, _ATOMIC)
        space.has_atomics = True

    def _compare_with_atomics(self, access: Access, did: str) -> None:
        if access.space.has_atomics:
            self._compare(access, _ATOMIC, did, "changed atomically")

    def _access(self, space: AddressSpace, size: int, rows: Array, lanes: Array | None, line: int) -> Access:
        cells = self.cells if lanes is None else self.cells[lanes]
        return Access(space, size, _UNITS[size], rows, lanes, cells + line)

    def _oldest(self, space: AddressSpace) -> int:
        """Accesses before this are ordered with all that follow."""
        return self.oldest_epoch if space.private else self.start

    def _compare(self, access: Access, kind: int, did: str, other: str) -> None:
        """Compare with cells of every granularity in use, but for those of which none is recent."""
        oldest, newest = self._oldest(access.space), access.space.newest
        for unit in access.space.units:
            if newest.get((kind, unit), 0) <= oldest:
                continue
            size = max(unit, access.size)
            rows = access.rows if size == access.size else access.rows * access.size // size
            cells = access.space.shadow(kind, unit, size)[rows]
            recent = cells >= oldest
            if np.count_nonzero(recent):
                self._suspect(access, cells, recent, did, other)

    def _suspect(self, access: Access, cells: Array, recent: Array, did: str, other: str) -> None:
        """Cells of other threads of this launch; in shared memory, since the block's last barrier."""
        flat = cells.ndim == 1
        mine = access.mine if flat else access.mine[:, None]
        suspects = recent & (((cells ^ mine) & _THREAD) != 0)
        if access.space.private:
            since = self.block_epoch if access.lanes is None else self.block_epoch[access.lanes]
            suspects &= cells >= (since if flat else since[:, None])
        if np.count_nonzero(suspects):
            self._judge(access, cells, suspects, did, other)

    def _judge(self, access: Access, cells: Array, suspects: Array, did: str, other: str) -> None:
        """Happens-before: threads of a block are ordered across its barriers, those of a warp across the warp's."""
        places, *_ = np.nonzero(suspects)
        theirs = cells[suspects]
        index = places if access.lanes is None else access.lanes[places]
        own, their = index + self.first, (theirs & _THREAD) >> LINE_BITS
        block, warp = own // self.per_block, own % self.per_block // 32
        same_block = block == their // self.per_block
        same_warp = same_block & (warp == their % self.per_block // 32)
        ordered = same_block & (theirs < self.block_epoch[index]) | same_warp & (theirs < self.warp_epoch[index])
        if not ordered.all():
            ordered |= same_block & (theirs < self.seen[index // self.per_block, warp, their % self.per_block // 32])
        if not ordered.all():
            bad = int(ordered.argmin())
            raise self._fault(access, int(places[bad]), int(theirs[bad]), did, other)

    def _note_newest(self, access: Access, kind: int) -> None:
        """Cells of the kind have been stored: they are of this epoch, or of one before."""
        access.space.newest[kind, access.unit] = (self.clock.now + 1) << _CLOCK

    def _note_others(self, access: Access, cells: Array, which: Array) -> None:
        """Keep another thread's read beside the last one."""
        others = access.space.shadow(_OTHER, access.unit, access.unit)
        parts = access.size // access.unit
        places = access.rows if parts == 1 else access.rows[:, None] * parts + np.arange(parts)
        others[places[which]] = cells[which]
        self._note_newest(access, _OTHER)

    def _fault(self, access: Access, place: int, cell: int, did: str, other: str) -> Fault:
        own = int(access.mine[place])
        address = self.frame.own_address(access.space, int(access.rows[place]) * access.size)
        message = (
            f"race: {access.space.name} at {address:#x} is {did} by {self._thread(own)} and {other} by "
            f"{self._thread(cell)}, with no barrier between: {self._line(own)} and {self._line(cell)}"
        )
        sites = (self._site(own, did), self._site(cell, other))
        return Fault(message, "race", sites, self.frame.place(access.space.name, address, access.size))

    def _site(self, cell: int, did: str) -> Site:
        return Site(cell & ((1 << LINE_BITS) - 1), self._thread(cell), did)

    def _thread(self, cell: int) -> str:
        number = (cell & _THREAD) >> LINE_BITS
        return f"thread {number % self.per_block} of block {number // self.per_block}"

    def _line(self, cell: int) -> str:
        number = cell & ((1 << LINE_BITS) - 1)
        return f"line {number} ({self.frame.kernel.lines[number - 1].strip().rstrip(';')})"
