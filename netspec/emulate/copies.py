"""Copies in the background, cp.async (PTX ISA 9.7.9.25): they land as late as they may.

From its start to the wait of the thread that started it, a copy's destination holds nothing but ones (no number, as a
float), and reading or writing it is a fault. Its source is read when it lands. What others may make of it is for the
race detector: for them the copy is a write both when it starts and when it lands, so a barrier is due before and after.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netspec.emulate.access import FULL, Piece, check, pieces
from netspec.emulate.frame import Bind, Frame, Steps
from netspec.emulate.memory import COMING, Array
from netspec.emulate.operands import Address, Immediate
from netspec.emulate.syntax import Instruction

_ONES = 0xFFFFFFFF


@dataclass(slots=True)
class Copy:
    """What one instruction has started: by thread a place in shared memory, a source, its bytes, and a group."""

    ins: Instruction
    size: int
    lanes: Array
    rows: Array
    sources: Array
    counts: Array
    """Bytes that are copied; the others of ``size`` become zeros."""
    groups: Array


class Copies:
    """The copies of a frame's threads that are under way; ``group`` counts the groups that each has closed."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.group = np.zeros(frame.count, np.int64)
        self.pending: list[Copy] = []

    def land(self, threads: Array, before: Array) -> None:
        """Bring what these threads have started in groups before the given ones."""
        limit = np.full(self.frame.count, -1, np.int64)
        limit[threads] = before
        kept = []
        for one in self.pending:
            due = one.groups < limit[one.lanes]
            if due.all():
                self._bring(one)
            elif due.any():
                self._bring(_part(one, due))
                kept.append(_part(one, ~due))
            else:
                kept.append(one)
        self.pending = kept

    def _bring(self, one: Copy) -> None:
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


def _fetch(frame: Frame, one: Copy, some: Array, count: int) -> Array:
    """The first ``count`` bytes of some sources, 4 at a time where they are not a whole access."""
    unit = count if count in (4, 8, 16) else 4 if count % 4 == 0 else 1
    parts = []
    for step in range(0, count, unit):
        addresses, lanes = one.sources[some] + step, one.lanes[some]
        values = np.empty((len(some), unit), np.uint8)
        for piece in pieces(frame, "global", addresses, lanes, unit, one.ins):
            rows = check(frame, piece, unit, one.ins, reads=True)
            if frame.checked:
                frame.races.read(piece.space, unit, rows, piece.lanes, one.ins.line)
            where = slice(None) if piece.chosen is None else piece.chosen
            found = piece.space.words(unit, np.uint8)[rows]
            values[where] = found.reshape(-1, unit)
        parts.append(values)
    return np.concatenate(parts, axis=1)


def _part(one: Copy, which: Array) -> Copy:
    return Copy(
        one.ins,
        one.size,
        one.lanes[which],
        one.rows[which],
        one.sources[which],
        one.counts[which],
        one.groups[which],
    )


def asynchronous(ins: Instruction) -> Bind:
    """``cp.async...``: a copy, the end of a group, or a wait."""
    words = [word.partition("::")[0] for word in ins.modifiers]
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
            (piece,) = pieces(frame, "shared", targets(), frame.lanes, nbytes, ins)
            count = np.full(frame.count, nbytes, np.int64)
            if counts is not None:
                count[:] = counts
            if skip is not None:
                count[np.broadcast_to(skip(), count.shape)] = 0
            _begin(frame, ins, nbytes, piece, lanes, sources(), count[lanes])

        return run, run

    return bind


def _begin(
    frame: Frame, ins: Instruction, size: int, piece: Piece, lanes: Array, sources: Array, counts: Array
) -> None:
    if (counts > size).any():
        thread = int(lanes[(counts > size).argmax()])
        raise ins.fault(f"{frame.place(thread)} copies {int(counts.max())} bytes of {size}")
    if ((sources & (size - 1) != 0) & (counts > 0)).any():
        place = int(((sources & (size - 1) != 0) & (counts > 0)).argmax())
        raise ins.fault(
            f"{frame.place(int(lanes[place]))}: the source {int(sources[place]):#x} is no multiple of {size} bytes"
        )
    rows = check(frame, piece, size, ins, reads=False)
    if frame.checked:
        frame.races.write(frame.shared, size, rows, piece.lanes, ins.line)
    frame.shared.words(size, np.uint32)[rows] = _ONES
    frame.shared.states(size)[rows] = COMING * FULL[size]
    copies = frame.copies
    copies.pending.append(Copy(ins, size, lanes, rows, sources.copy(), counts, copies.group[lanes]))


def _commit(frame: Frame) -> Steps:
    def run() -> None:
        frame.copies.group[frame.active()] += 1

    return run, run


def _wait(frame: Frame, pending: int) -> Steps:
    """Until at most so many of each thread's groups are under way; -1 for all, those not closed included."""

    def run() -> None:
        threads = frame.active()
        frame.copies.land(threads, frame.copies.group[threads] - pending)

    return run, run
