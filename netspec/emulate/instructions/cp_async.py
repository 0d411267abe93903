"""Asynchronous copies from global to shared memory, cp.async (PTX ISA 9.7.9.25): completed as late as allowed.

From the copy to the wait of the thread that issued it, the destination holds all ones (NaN, as a float), and accessing
it is a fault. The source is read when the copy completes. For other threads the race detector counts the copy as a
write both when it is issued and when it completes, so a barrier is due before and after.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netspec.emulate.fault import Place
from netspec.emulate.frame import Bind, Frame, Steps
from netspec.emulate.instructions.bulk_copies import Landing, bulk
from netspec.emulate.instructions.load_store import FULL, SpaceAccess, check, resolved
from netspec.emulate.memory import IN_FLIGHT, Array
from netspec.emulate.ptx.operands import Address, Immediate
from netspec.emulate.ptx.syntax_tree import Instruction

_ONES = 0xFFFFFFFF


@dataclass(slots=True)
class AsyncCopy:
    """One instruction's copies in flight: by thread destination row, source address, byte count and group."""

    ins: Instruction
    size: int
    lanes: Array
    rows: Array
    sources: Array
    counts: Array
    """Bytes that are copied; the others of ``size`` become zeros."""
    groups: Array


class AsyncCopies:
    """Copies of a frame's threads in flight; ``group`` counts the groups that each thread has committed."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.group = np.zeros(frame.count, np.int64)
        self.pending: list[AsyncCopy] = []

    def complete(self, threads: Array, before: Array) -> None:
        """Complete what these threads have issued in groups before the given ones."""
        limit = np.full(self.frame.count, -1, np.int64)
        limit[threads] = before
        kept = []
        for one in self.pending:
            due = one.groups < limit[one.lanes]
            if due.all():
                self._perform(one)
            elif due.any():
                self._perform(_subset(one, due))
                kept.append(_subset(one, ~due))
            else:
                kept.append(one)
        self.pending = kept

    def _perform(self, one: AsyncCopy) -> None:
        frame, size = self.frame, one.size
        data = np.zeros((len(one.lanes), size), np.uint8)
        for count in range(1, size + 1):
            some = np.flatnonzero(one.counts == count)
            if some.size:
                data[some, :count] = _fetch(frame, one, some, count)
        frame.shared.words(size, np.uint8)[one.rows] = data
        frame.shared.states(size)[one.rows] = FULL[size]
        if frame.kernel.asynchronous:
            frame.products.wrote(size, one.rows, one.lanes)
        if frame.checked:
            frame.races.write(frame.shared, size, one.rows, one.lanes, one.ins.line)


def _fetch(frame: Frame, one: AsyncCopy, some: Array, count: int) -> Array:
    """The first ``count`` bytes of some sources, (copies, count); 4 bytes at a time where it is no access's size."""
    unit = count if count in (4, 8, 16) else 4 if count % 4 == 0 else 1
    parts = []
    for step in range(0, count, unit):
        addresses, lanes = one.sources[some] + step, one.lanes[some]
        values = np.empty((len(some), unit), np.uint8)
        for access in resolved(frame, "global", addresses, lanes, unit, one.ins):
            rows = check(frame, access, unit, one.ins, reads=True)
            if frame.checked:
                frame.races.read(access.space, unit, rows, access.lanes, one.ins.line)
            where = slice(None) if access.chosen is None else access.chosen
            found = access.space.words(unit, np.uint8)[rows]
            values[where] = found.reshape(-1, unit)
        parts.append(values)
    return np.concatenate(parts, axis=1)


def _subset(one: AsyncCopy, which: Array) -> AsyncCopy:
    return AsyncCopy(
        one.ins,
        one.size,
        one.lanes[which],
        one.rows[which],
        one.sources[which],
        one.counts[which],
        one.groups[which],
    )


def asynchronous(ins: Instruction) -> Bind:
    """``cp.async...``: copy, commit_group, wait_group or wait_all."""
    words = [word.partition("::")[0] for word in ins.modifiers]
    if words[:2] == ["async", "bulk"]:
        return bulk(ins)
    if words[:2] == ["async", "mbarrier"]:
        return _arrive(ins)
    if words == ["async", "commit_group"]:
        return _commit
    if words == ["async", "wait_group"]:
        pending = ins.operands[0]
        assert isinstance(pending, Immediate)
        return lambda frame: _wait(frame, int(pending.value))
    if words == ["async", "wait_all"]:
        return lambda frame: _wait(frame, -1)
    if words[:2] not in (["async", "ca"], ["async", "cg"]) or words[2:4] != ["shared", "global"]:
        raise ValueError(ins.opcode)
    return _start(ins, words[1])


def _arrive(ins: Instruction) -> Bind:
    """``cp.async.mbarrier.arrive.noinc [mbarrier]``: an arrival of each thread, when all its copies have landed."""
    (place,) = ins.operands
    assert isinstance(place, Address) and "noinc" in ins.modifiers

    def bind(frame: Frame) -> Steps:
        addresses = frame.addresses(place)

        def run() -> None:
            for lane, address in zip(frame.active().tolist(), addresses().tolist(), strict=True):
                frame.mbarriers.at(ins, lane, address)
                _arrive_later(frame, ins, lane, address, int(frame.copies.group[lane]))

        return run, run

    return bind


def _arrive_later(frame: Frame, ins: Instruction, lane: int, address: int, group: int) -> None:
    def land() -> None:
        frame.copies.complete(np.array([lane]), np.array([group + 1]))
        frame.mbarriers.arrive(ins, lane, address)

    frame.bulk_copies.landing.append(Landing(int(frame.block[lane]), address, 0, land))


def _start(ins: Instruction, cache: str) -> Bind:
    target, source, size, *given = ins.operands
    assert isinstance(target, Address) and isinstance(source, Address) and isinstance(size, Immediate)
    nbytes = int(size.value)
    if nbytes not in ((4, 8, 16) if cache == "ca" else (16,)):
        raise ins.fault(f"cp.async.{cache} copies no {nbytes} bytes")

    def bind(frame: Frame) -> Steps:
        targets, sources = frame.addresses(target), frame.addresses(source)
        ignored = bool(given) and frame.is_predicate(given[-1])
        counts = None if not given or ignored else frame.read(given[0], "u32")
        skip = frame.predicate(given[-1]) if ignored else None

        def run() -> None:
            lanes = frame.active()
            (access,) = resolved(frame, "shared", targets(), frame.lanes, nbytes, ins)
            count = np.full(frame.count, nbytes, np.int64)
            if counts is not None:
                count[:] = counts
            if skip is not None:
                count[np.broadcast_to(skip(), count.shape)] = 0
            _begin(frame, ins, nbytes, access, lanes, sources(), count[lanes])

        return run, run

    return bind


def _begin(
    frame: Frame, ins: Instruction, size: int, access: SpaceAccess, lanes: Array, sources: Array, counts: Array
) -> None:
    if (counts > size).any():
        thread = int(lanes[(counts > size).argmax()])
        raise ins.fault(f"copies {int(counts.max())} bytes of {size}", thread=frame.thread_name(thread))
    if ((sources & (size - 1) != 0) & (counts > 0)).any():
        place = int(((sources & (size - 1) != 0) & (counts > 0)).argmax())
        name = frame.thread_name(int(lanes[place]))
        source = Place("global memory", int(sources[place]), size)
        words = f"is no multiple of {size} bytes"
        raise ins.fault(f": the source {source.address:#x} {words}", "unaligned", name, source, words=words)
    rows = check(frame, access, size, ins, reads=False)
    if frame.checked:
        frame.races.write(frame.shared, size, rows, access.lanes, ins.line)
    frame.shared.words(size, np.uint32)[rows] = _ONES
    frame.shared.states(size)[rows] = IN_FLIGHT * FULL[size]
    copies = frame.copies
    copies.pending.append(AsyncCopy(ins, size, lanes, rows, sources.copy(), counts, copies.group[lanes]))


def _commit(frame: Frame) -> Steps:
    def run() -> None:
        frame.copies.group[frame.active()] += 1

    return run, run


def _wait(frame: Frame, pending: int) -> Steps:
    """Complete all but each thread's last ``pending`` groups; -1: all, uncommitted copies included."""

    def run() -> None:
        threads = frame.active()
        frame.copies.complete(threads, frame.copies.group[threads] - pending)

    return run, run
