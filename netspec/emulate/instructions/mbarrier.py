"""mbarrier objects in shared memory (PTX ISA 9.7.13.15): phases of arrivals and of bytes that copies bring.

Whoever waits for a phase is parked until it completes. Accesses before an arrival are ordered before whatever follows
a wait for its phase, for all lanes of the two warps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from netspec.emulate.frame import Bind, Frame, Steps
from netspec.emulate.instructions.load_store import check, resolved
from netspec.emulate.memory import Array
from netspec.emulate.ptx.operands import Address, Immediate, Operand
from netspec.emulate.ptx.syntax_tree import Instruction

SIZE = 8
_ZERO = Immediate(0)


@dataclass(slots=True)
class MBarrier:
    """One of a block: ``pending`` arrivals of ``count`` and ``missing`` bytes until the current phase completes."""

    address: int
    count: int
    pending: int
    initialiser: int
    """The thread that has initialised it, whose fence makes that visible to asynchronous copies."""
    visible: bool = False
    missing: int = 0
    phase: int = 0
    coming: Any = None
    """What arrivals of the current phase have released, see RaceDetector.release; None for nothing."""
    released: Any = None

    def lacks(self) -> str:
        """What its current phase lacks, in words."""
        lacks = [f"{self.pending} of {self.count} arrivals"] if self.pending else []
        if self.missing > 0:
            lacks.append(f"{self.missing:,} bytes that it expects")
        elif self.missing:
            lacks.append(f"expect_tx of {-self.missing:,} bytes that have come")
        return " and ".join(lacks)


class MBarriers:
    """The mbarriers of a frame's blocks, by block and address."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self._all: dict[tuple[int, int], MBarrier] = {}
        self.tried = np.zeros(frame.count, bool)
        """Threads that have been told once that their phase is not complete: they wait now."""

    def told(self, one: MBarrier) -> str:
        """That somebody waits for an mbarrier, and what its phase lacks."""
        return f"waits forever for phase {one.phase} of {self.named(one.address)}, which lacks {one.lacks()}"

    def named(self, address: int) -> str:
        """The mbarrier at an address, by its place in the array that it lies in."""
        return f"the mbarrier at byte {self.frame.place('shared memory', address, SIZE).address:,} of shared memory"

    def init(self, ins: Instruction, lane: int, address: int, count: int) -> None:
        """Begin phase 0 of so many arrivals."""
        if not 0 < count < 1 << 20:
            raise ins.fault(f"initialises an mbarrier of {count} arrivals", thread=self.frame.thread_name(lane))
        one = MBarrier(address, count, count, lane)
        if self.frame.checked:
            one.released = self.frame.races.release(lane, None)
        self._all[int(self.frame.block[lane]), address] = one

    def invalidate(self, ins: Instruction, lane: int, address: int, _: int) -> None:
        """There is none there any more."""
        self.at(ins, lane, address)
        del self._all[int(self.frame.block[lane]), address]

    def at(self, ins: Instruction, lane: int, address: int) -> MBarrier:
        """The mbarrier there, for a thread; Fault where none is, or its initialisation is not visible to the thread."""
        one = self._all.get((int(self.frame.block[lane]), address))
        if one is None:
            raise ins.fault(f"names {self.named(address)}, and there is none", "mbarrier", self.frame.thread_name(lane))
        if one.phase == 0 and self.frame.checked and not self.frame.races.follows(lane, one.initialiser, one.released):
            words = f"uses {self.named(address)}, with no barrier of the block behind its initialisation"
            raise ins.fault(words, "mbarrier", self.frame.thread_name(lane))
        return one

    def for_copies(self, ins: Instruction, lane: int, address: int) -> MBarrier:
        """The same for an asynchronous copy, which sees what a fence of the initialising thread lets it see."""
        one = self.at(ins, lane, address)
        if not one.visible:
            words = f"names {self.named(address)}, with no fence.mbarrier_init behind its initialisation"
            raise ins.fault(words, "mbarrier", self.frame.thread_name(lane))
        return one

    def fence(self) -> None:
        """The active threads make what they have initialised visible to asynchronous copies."""
        active = set(self.frame.active().tolist())
        for one in self._all.values():
            one.visible = one.visible or one.initialiser in active

    def arrive(self, ins: Instruction, lane: int, address: int, expected: int = 0) -> None:
        """An arrival of a thread, with so many bytes more to wait for."""
        one = self.at(ins, lane, address)
        if not one.pending:
            words = f"arrives at {self.named(address)} once more than the {one.count} of its phase {one.phase}"
            raise ins.fault(f"{words}, which lacks {one.lacks()}", "mbarrier", self.frame.thread_name(lane))
        one.missing += expected
        one.pending -= 1
        self._release(one, lane)
        self._turn(ins, one, lane)

    def expect(self, ins: Instruction, lane: int, address: int, expected: int) -> None:
        """So many bytes more to wait for."""
        self.at(ins, lane, address).missing += expected

    def complete_bytes(self, ins: Instruction, lane: int, address: int, nbytes: int) -> None:
        """A copy that a thread has issued has brought so many bytes."""
        one = self.at(ins, lane, address)
        one.missing -= nbytes
        self._release(one, lane)
        self._turn(ins, one, lane)

    def _release(self, one: MBarrier, lane: int) -> None:
        if self.frame.checked:
            one.coming = self.frame.races.release(lane, one.coming)

    def _turn(self, ins: Instruction, one: MBarrier, lane: int) -> None:
        """Go on to the next phase, where this one is complete."""
        if one.pending or one.missing:
            return
        late = self.frame.bulk_copies.on_the_way(int(self.frame.block[lane]), one.address)
        if late:
            words = (
                f": phase {one.phase} of {self.named(one.address)} is complete while copies that name it have still "
                f"{late:,} bytes to bring: expect_tx says too few"
            )
            raise ins.fault(words, "mbarrier", self.frame.thread_name(lane))
        one.phase, one.pending = one.phase + 1, one.count
        one.released, one.coming = one.coming, None
        self.frame.woken = True


def _lanes(frame: Frame, ins: Instruction, place: Operand) -> tuple[Array, Array]:
    """The active threads and the addresses that they name."""
    assert isinstance(place, Address)
    addresses, lanes = frame.addresses(place)(), frame.active()
    if (addresses % SIZE).any():
        at = int((addresses % SIZE != 0).argmax())
        raise ins.fault(f"names {int(addresses[at]):#x}, no multiple of {SIZE}", thread=frame.thread_name(lanes[at]))
    return lanes, addresses


def mbarrier(ins: Instruction) -> Bind:
    """``mbarrier...``: init, inval, arrive, arrive.expect_tx, expect_tx or try_wait.parity."""
    words = [word for word in ins.modifiers if word not in ("shared", "shared::cta", "release", "acquire", "cta")]
    assert words[-1] == "b64"
    define = {"init": _init, "inval": _invalidate, "arrive": _arrive, "expect_tx": _expect, "try_wait": _try_wait}
    return define[words[0]](ins, words[1:-1])


def _init(ins: Instruction, words: list[str]) -> Bind:
    place, count = ins.operands
    assert not words and isinstance(place, Address)
    begin = _each(ins, MBarriers.init, place, count)

    def bind(frame: Frame) -> Steps:
        addresses, (run_each, _) = frame.addresses(place), begin(frame)

        def run() -> None:
            (access,) = resolved(frame, "shared", addresses(), frame.lanes, SIZE, ins)
            rows = check(frame, access, SIZE, ins, reads=False)
            if frame.checked:
                frame.races.write(access.space, SIZE, rows, access.lanes, ins.line)
            run_each()

        return run, run

    return bind


def _invalidate(ins: Instruction, words: list[str]) -> Bind:
    assert not words
    return _each(ins, MBarriers.invalidate, ins.operands[0])


def _arrive(ins: Instruction, words: list[str]) -> Bind:
    assert words in ([], ["expect_tx"])
    _, place, *expected = ins.operands  # the state of the phase is read by waits of another kind
    assert len(expected) == len(words)
    return _each(ins, MBarriers.arrive, place, *expected)


def _expect(ins: Instruction, words: list[str]) -> Bind:
    assert words in ([], ["relaxed"])
    return _each(ins, MBarriers.expect, *ins.operands)


def _each(ins: Instruction, do: Callable[..., None], place: Operand, number: Operand = _ZERO) -> Bind:
    """``do`` for one active thread after the other, with the address that it names and its value of an operand."""

    def bind(frame: Frame) -> Steps:
        values = np.broadcast_to(frame.read(number, "u32"), (frame.count,))

        def run() -> None:
            lanes, places = _lanes(frame, ins, place)
            for lane, address, value in zip(lanes.tolist(), places.tolist(), values[lanes].tolist(), strict=True):
                do(frame.mbarriers, ins, lane, address, value)

        return run, run

    return bind


def _try_wait(ins: Instruction, words: list[str]) -> Bind:
    """It may give up before the phase completes, and does so once for each wait; then ``lanes_awaited`` parks."""
    assert words == ["parity"]
    result = ins.operands[0]

    def bind(frame: Frame) -> Steps:
        done = frame.write(result, "pred")

        def run() -> None:
            for lanes, one, parity in _awaited(frame, ins):
                complete = one.phase & 1 != parity
                done[lanes] = complete
                frame.mbarriers.tried[lanes] = not complete
                if complete and frame.checked:
                    frame.races.acquire(int(lanes[0]), one.released)

        return run, run

    return bind


def is_wait(ins: Instruction) -> bool:
    """Whether it waits for a phase."""
    return ins.name == "mbarrier" and "try_wait" in ins.modifiers


def lanes_awaited(frame: Frame, ins: Instruction, parked: Array) -> Any:
    """Which of the waiting threads may go on: their phase is complete when one of another parity is under way."""
    frame.lanes = np.flatnonzero(parked)
    going = np.zeros(frame.count, bool)
    for lanes, one, parity in _awaited(frame, ins):
        going[lanes] = one.phase & 1 != parity or ~frame.mbarriers.tried[lanes]
    return going


def _awaited(frame: Frame, ins: Instruction) -> list[tuple[Array, MBarrier, int]]:
    """Active threads of a warp with the mbarrier and parity that they wait for, the first warp first."""
    lanes, places = _lanes(frame, ins, ins.operands[1])
    parities = np.broadcast_to(frame.read(ins.operands[2], "u32"), (frame.count,))[lanes] & 1
    warps = frame.block[lanes] * frame.per_block + frame.thread[lanes] // 32
    keys = warps << 32 | places << 1 | parities
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    return [
        (lanes[which == number], frame.mbarriers.at(ins, int(lanes[at]), int(places[at])), int(parities[at]))
        for number, at in enumerate(first)
    ]


def lacking(frame: Frame, ins: Instruction) -> str:
    """What the active threads wait for, of the first of them."""
    _, one, _ = _awaited(frame, ins)[0]
    return frame.mbarriers.told(one)
