"""TMA: copies of boxes of arrays between global and shared memory, cp.async.bulk.tensor (PTX ISA 9.7.9.27).

Copies land as late as may be: what is loaded when no thread can go on without it, what is stored when the thread
waits for it. Until then accesses to the destination are faults. For the race detector a load is a write of
the thread that issues it, both then and when it lands. The source of a load is read when it lands, that of a store
when it is issued and again when it is waited for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from netspec.emulate.frame import Bind, Frame, Steps
from netspec.emulate.instructions.load_store import FULL, SpaceAccess, check, resolved
from netspec.emulate.instructions.matrix_descriptors import UNIT
from netspec.emulate.map_encoding import Box, Map, swizzled
from netspec.emulate.memory import IN_FLIGHT, Array
from netspec.emulate.ptx.operands import Address, Immediate, Operand, Pair, Vector
from netspec.emulate.ptx.syntax_tree import Instruction

_MAP = 128


@dataclass(slots=True)
class Landing:
    """Something under way that completes on an mbarrier of a block."""

    block: int
    barrier: int
    nbytes: int
    land: Callable[[], None]


@dataclass(slots=True)
class Storing:
    """A store under way: ``rows`` of shared memory held ``found`` when it was issued; ``group`` is the thread's."""

    ins: Instruction
    lane: int
    group: int
    rows: Array
    found: Array
    store: Callable[[], None]
    is_read: bool = False


class BulkCopies:
    """Copies of a frame's threads under way, oldest first."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.landing: deque[Landing] = deque()
        self.storing: list[Storing] = []
        self.groups = np.zeros(frame.count, np.int64)
        """Groups of stores that each thread has committed."""
        self.acquired: set[tuple[int, int]] = set()
        """Blocks and the addresses of maps that they have acquired."""

    def on_the_way(self, block: int, barrier: int) -> int:
        """Bytes that are still to complete on an mbarrier."""
        return sum(one.nbytes for one in self.landing if (one.block, one.barrier) == (block, barrier))

    def land(self) -> bool:
        """Let the oldest load land; False where there is none."""
        if not self.landing:
            return False
        self.landing.popleft().land()
        return True

    def wait(self, pending: int, read_only: bool) -> None:
        """Complete all but the active threads' last ``pending`` groups of stores, or their reads of shared memory."""
        active = self.frame.active()
        limit = np.full(self.frame.count, -1, np.int64)
        limit[active] = self.groups[active] - pending
        due = [one for one in self.storing if one.group < limit[one.lane]]
        for one in due:
            self._read(one)
        if not read_only:
            for one in due:
                one.store()
            self.storing = [one for one in self.storing if one.group >= limit[one.lane]]

    def _read(self, one: Storing) -> None:
        if one.is_read:
            return
        one.is_read = True
        if (self.frame.shared.words(UNIT, np.uint32)[one.rows] != one.found).any():
            raise one.ins.fault("shared memory has changed under a store that was under way")

    def finish(self) -> None:
        """The frame's threads have ended: what is still stored lands; Fault where shared memory was not yet read."""
        for one in self.storing:
            if not one.is_read:
                words = "is not waited for: the block may end before its shared memory has been read"
                raise one.ins.fault(words, thread=self.frame.thread_name(one.lane))
            one.store()
        self.storing = []


def bulk(ins: Instruction) -> Bind:
    """``cp.async.bulk...``: a load or a store of a tensor, commit_group or wait_group."""
    words = [word for word in ins.modifiers[2:] if word != "tile"]
    if words == ["commit_group"]:
        return _commit
    if words[0] == "wait_group":
        (pending,) = ins.operands
        assert isinstance(pending, Immediate) and words[1:] in ([], ["read"])
        return lambda frame: _wait(frame, int(pending.value), words[1:] == ["read"])
    assert words[0] == "tensor" and words[1] in ("1d", "2d", "3d", "4d", "5d")
    rank, words = int(words[1][0]), words[2:]
    if words == ["global", "shared::cta", "bulk_group"]:
        return _store(ins, rank)
    many = "im2col" in words
    if [word for word in words if word != "im2col"] not in (
        ["shared::cluster", "global", "mbarrier::complete_tx::bytes"],
        ["shared::cta", "global", "mbarrier::complete_tx::bytes"],
    ):
        raise ValueError(ins.opcode)
    return _load(ins, rank, many)


def _commit(frame: Frame) -> Steps:
    def run() -> None:
        frame.bulk_copies.groups[frame.active()] += 1

    return run, run


def _wait(frame: Frame, pending: int, read_only: bool) -> Steps:
    def run() -> None:
        frame.bulk_copies.wait(pending, read_only)

    return run, run


def _parts(frame: Frame, operand: Operand, kind: str, count: int) -> Callable[[int], Array]:
    """The values of a vector of coordinates in a thread."""
    parts = operand.parts if isinstance(operand, Vector) else (operand,)
    if len(parts) != count:
        raise TypeError(f"{count} coordinates are due, {len(parts)} are given")
    values = [np.broadcast_to(frame.read(one, kind), (frame.count,)) for one in parts]
    return lambda lane: np.array([one[lane] for one in values], np.int64)


def _map(frame: Frame, ins: Instruction, lane: int, address: int, rank: int, many: bool) -> Map:
    """The tensor map at an address, as a thread of the block finds it."""
    (access,) = resolved(frame, "global", np.array([address]), np.array([lane]), 16, ins)
    check(frame, access, 16, ins, reads=True)
    if address % 64:
        words = f"names a tensor map at {address:#x}, no multiple of 64"
        raise ins.fault(words, thread=frame.thread_name(lane))
    if (int(frame.block[lane]), address) not in frame.bulk_copies.acquired:
        words = f"uses the tensor map at {address:#x}, with no fence.proxy.tensormap of its block before"
        raise ins.fault(words, thread=frame.thread_name(lane))
    try:
        found = Map(frame.memory.view(address, _MAP))
    except ValueError as error:
        raise ins.fault(f": what lies at {address:#x} {error}", thread=frame.thread_name(lane)) from error
    if found.rank != rank or found.im2col != many:
        words = f"takes a tensor map of {_kind(rank, many)}, this one is of {_kind(found.rank, found.im2col)}"
        raise ins.fault(words, thread=frame.thread_name(lane))
    return found


def _kind(rank: int, many: bool) -> str:
    return f"{rank} axes{' for im2col' if many else ''}"


def _units(frame: Frame, ins: Instruction, lane: int, start: int, one: Map) -> SpaceAccess:
    """The 16-byte units of shared memory in which a box lies, in the order of its bytes."""
    if start % _MAP:
        thread = frame.thread_name(lane)
        raise ins.fault(f"has its box at {start:#x} in shared memory, no multiple of {_MAP}", thread=thread)
    places = swizzled(start + UNIT * np.arange(one.nbytes // UNIT), one.swizzle)
    (access,) = resolved(frame, "shared", places, np.full(len(places), lane), UNIT, ins)
    return access


def _load(ins: Instruction, rank: int, many: bool) -> Bind:
    """``[target], [map, {coordinates}], [mbarrier] {, {taps}}``"""
    target, source, barrier, *more = ins.operands
    assert isinstance(source, Pair) and len(more) == many
    assert isinstance(target, Address) and isinstance(source.first, Address) and isinstance(barrier, Address)
    first = source.first

    def bind(frame: Frame) -> Steps:
        targets, maps, barriers = (frame.addresses(one) for one in (target, first, barrier))
        coordinates = _parts(frame, source.second, "s32", rank)
        taps = _parts(frame, more[0], "u16", rank - 2) if many else lambda lane: np.zeros(0, np.int64)

        def run() -> None:
            given = zip(frame.active().tolist(), targets().tolist(), maps().tolist(), barriers().tolist(), strict=True)
            for lane, place, where, bar in given:
                one = _map(frame, ins, lane, where, rank, many)
                frame.mbarriers.for_copies(ins, lane, bar)
                access = _units(frame, ins, lane, place, one)
                _begin_load(frame, ins, lane, one, access, bar, coordinates(lane), taps(lane))

        return run, run

    return bind


def _begin_load(
    frame: Frame, ins: Instruction, lane: int, one: Map, access: SpaceAccess, bar: int, at: Array, taps: Array
) -> None:
    rows = check(frame, access, UNIT, ins, reads=False)
    frame.products.overwritten(ins, lane, rows)
    if frame.checked:
        frame.races.write(frame.shared, UNIT, rows, access.lanes, ins.line)
    frame.shared.words(UNIT, np.uint32)[rows] = 0xFFFFFFFF
    states = frame.shared.states(UNIT)
    states[rows] = IN_FLIGHT * FULL[UNIT]

    def land() -> None:
        data = _fetch(frame, ins, lane, one.read(at, taps))
        frame.shared.words(UNIT, np.uint8)[rows] = data.reshape(-1, UNIT)
        states[rows] = FULL[UNIT]
        if frame.checked:
            frame.races.write(frame.shared, UNIT, rows, access.lanes, ins.line)
        frame.mbarriers.complete_bytes(ins, lane, bar, one.nbytes)

    frame.bulk_copies.landing.append(Landing(int(frame.block[lane]), bar, one.nbytes, land))


def _accessed(
    frame: Frame, ins: Instruction, lane: int, box: Box, reads: bool
) -> Iterator[tuple[Array, Array, Array]]:
    """A box's accesses to global memory: words, rows of them, and places of their bytes in the box.

    They are of the widest unit that all runs of the box are made of.
    """
    if not box.addresses.size:
        return
    bits = int(np.bitwise_or.reduce(box.addresses)) | box.run | UNIT
    unit = bits & -bits
    steps = np.arange(0, box.run, unit)
    addresses, places = ((one[:, None] + steps).reshape(-1) for one in (box.addresses, box.places))
    for access in resolved(frame, "global", addresses, np.full(len(addresses), lane), unit, ins):
        rows = check(frame, access, unit, ins, reads=reads)
        if frame.checked:
            note = frame.races.read if reads else frame.races.write
            note(access.space, unit, rows, access.lanes, ins.line)
        where = places if access.chosen is None else places[access.chosen]
        yield access.space.words(unit, np.uint8), rows, where[:, None] + np.arange(unit)


def _fetch(frame: Frame, ins: Instruction, lane: int, box: Box) -> Array:
    """A box's bytes from global memory; zeros outside the array."""
    data = np.zeros(box.shape, np.uint8).reshape(-1)
    for words, rows, places in _accessed(frame, ins, lane, box, reads=True):
        data[places] = words[rows].reshape(places.shape)
    return data


def _store(ins: Instruction, rank: int) -> Bind:
    """``[map, {coordinates}], [source]``"""
    target, source = ins.operands
    assert isinstance(target, Pair) and isinstance(target.first, Address) and isinstance(source, Address)
    first = target.first

    def bind(frame: Frame) -> Steps:
        maps, sources = frame.addresses(first), frame.addresses(source)
        coordinates = _parts(frame, target.second, "s32", rank)

        def run() -> None:
            for lane, where, place in zip(frame.active().tolist(), maps().tolist(), sources().tolist(), strict=True):
                one = _map(frame, ins, lane, where, rank, False)
                _begin_store(frame, ins, lane, one, _units(frame, ins, lane, place, one), coordinates(lane))

        return run, run

    return bind


def _begin_store(frame: Frame, ins: Instruction, lane: int, one: Map, access: SpaceAccess, at: Array) -> None:
    rows = check(frame, access, UNIT, ins, reads=True)
    frame.products.check_fenced(ins, rows)
    if frame.checked:
        frame.races.read(frame.shared, UNIT, rows, access.lanes, ins.line)
    found = frame.shared.words(UNIT, np.uint32)[rows].copy()

    def store() -> None:
        box = one.read(at, np.zeros(0, np.int64))
        _put(frame, ins, lane, box, found.view(np.uint8).reshape(-1))

    copies = frame.bulk_copies
    copies.storing.append(Storing(ins, lane, int(copies.groups[lane]), rows, found, store))


def _put(frame: Frame, ins: Instruction, lane: int, box: Box, data: Array) -> None:
    """A box's bytes into global memory, but for those outside the array."""
    for words, rows, places in _accessed(frame, ins, lane, box, reads=False):
        words[rows] = data[places].reshape(-1, *words.shape[1:])
