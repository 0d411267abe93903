"""Barriers of so many threads of a block by number, ``bar.sync a, b`` and ``bar.arrive a, b`` (PTX ISA 9.7.13.1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from netspec.emulate.frame import Bind, Frame, Steps
from netspec.emulate.instructions.warp import barrier as warp_barrier
from netspec.emulate.memory import Array
from netspec.emulate.ptx.syntax_tree import Instruction

_MOST = 16


class NamedBarriers:
    """Arrivals of a frame's threads at numbered barriers, and who has been released."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self._arrived: dict[tuple[int, int], list[int]] = {}
        self.waits = np.zeros(frame.count, bool)
        """Threads that have arrived and wait."""
        self.released = np.zeros(frame.count, bool)

    def arrive(self, ins: Instruction, lanes: Array) -> None:
        """Threads have arrived; where a barrier is complete, its waiting threads are released."""
        frame = self.frame
        numbers, counts = self._named(ins)
        for lane in lanes.tolist():
            number, count = int(numbers[lane]), int(counts[lane])
            if number >= _MOST or not 0 < count <= frame.per_block or count % 32:
                words = f"names barrier {number} of {count} threads"
                raise ins.fault(words, "barrier", frame.thread_name(lane))
            key = int(frame.block[lane]), number
            here = self._arrived.setdefault(key, [])
            here.append(lane)
            if len(here) == count:
                self._complete(self._arrived.pop(key))

    def _named(self, ins: Instruction) -> tuple[Array, Array]:
        """By thread: a barrier's number, and of how many threads it is."""
        number, count = (np.broadcast_to(self.frame.read(one, "u32"), (self.frame.count,)) for one in ins.operands)
        return number, count

    def _complete(self, lanes: list[int]) -> None:
        here = np.array(lanes)
        self.released[here] = self.waits[here]
        self.waits[here] = False
        if self.frame.checked:
            self.frame.races.group_barrier(here)
        self.frame.woken = True

    def told(self, ins: Instruction, lane: int) -> str:
        """What a thread's barrier lacks."""
        numbers, counts = self._named(ins)
        here = self._arrived.get((int(self.frame.block[lane]), int(numbers[lane])), [])
        return f"barrier {int(numbers[lane])} of {int(counts[lane])} threads, of which {len(here)} have come"


def is_named(ins: Instruction) -> bool:
    """Whether it waits at a barrier of so many threads."""
    if ins.name not in ("bar", "barrier") or len(ins.operands) != 2:
        return False
    return [word for word in ins.modifiers if word not in ("cta", "aligned")] == ["sync"]


def lanes_released(frame: Frame, ins: Instruction, parked: Array) -> Any:
    """Which of the waiting threads may go on; those that have just come arrive."""
    barriers = frame.named_barriers
    new = parked & ~barriers.waits & ~barriers.released
    if new.any():
        barriers.waits |= new
        barriers.arrive(ins, np.flatnonzero(new))
    going = parked & barriers.released
    barriers.released &= ~going
    return going


def lacking(frame: Frame, ins: Instruction) -> str:
    """What the active threads wait for, of the first of them."""
    return f"waits forever at {frame.named_barriers.told(ins, int(frame.active()[0]))}"


def barrier(ins: Instruction) -> Bind:
    """``bar...``: of a warp, an arrival of so many threads, or a wait, to which only released threads come."""
    if "warp" in ins.modifiers:
        return warp_barrier(ins)
    if "arrive" in ins.modifiers:
        assert len(ins.operands) == 2 and ins.guard is None
        return _arrive(ins)
    assert is_named(ins)
    return lambda frame: (int, int)


def _arrive(ins: Instruction) -> Bind:
    def bind(frame: Frame) -> Steps:
        def run() -> None:
            frame.named_barriers.arrive(ins, frame.active())

        return run, run

    return bind
