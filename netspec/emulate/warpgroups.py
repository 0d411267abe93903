"""Products of matrices by a warpgroup, wgmma (PTX ISA 9.7.15), and the fence that shows them what threads have stored.

Operands are read through their descriptors when an instruction is issued, and once more when it is waited for: memory
that has changed in between is a fault, and so are words that their writers have not fenced off since. Until then sums
are NaN in their registers. Only what the instruction takes of 32 bits is known here: tf32, terms along the lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from netspec.emulate.access import check, pieces
from netspec.emulate.frame import Bind, Frame, Steps
from netspec.emulate.memory import Array, Space
from netspec.emulate.operands import Immediate, Register, Vector
from netspec.emulate.syntax import Instruction

GROUP, ROWS, STEP = 128, 64, 8
"""Threads of a warpgroup, rows of a product, terms of an instruction."""
_TF32 = np.uint32(0xFFFFE000)
_UNITS = {1: 8, 2: 4, 3: 2}
"""Units of 16 bytes of a line, by the swizzling mode."""
_NOTHING = np.float32(np.nan)


class Share(NamedTuple):
    """An instruction's share of an operand: by warpgroup, line and term where a word lies, and what is there."""

    space: Space
    rows: Array
    words: Array


@dataclass(slots=True)
class Product:
    """An instruction under way: its threads, the groups they will have closed, and what it has read."""

    ins: Instruction
    threads: Array
    groups: Array
    sums: tuple[str, ...]
    at: Array
    """Its warpgroups."""
    read: tuple[Share, Share]


class Products:
    """What a frame's warpgroups have under way."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.closed = np.zeros(frame.count, np.int64)
        self.pending: list[Product] = []
        self.sums: dict[str, Array] = {}
        """What registers will hold."""
        self.ready = np.zeros(frame.count, bool)
        """Threads that have passed a wgmma.fence."""
        self.fences = np.zeros(frame.count, np.int64)
        """When each thread last fenced off what it had stored."""

    def under_way(self, name: str) -> Array:
        """Threads of whose register that is."""
        found = np.zeros(self.frame.count, bool)
        for one in self.pending:
            if name in one.sums:
                found |= one.threads
        return found

    def finish(self, threads: Array, before: Array) -> None:
        """End what these threads have issued in groups before the given ones."""
        limit = np.full(self.frame.count, -1, np.int64)
        limit[threads] = before
        done: dict[str, Array] = {}
        for one in self.pending:
            due = one.threads & (one.groups < limit)
            if due.any():
                _check_unchanged(one, due)
                one.threads = one.threads & ~due
                for name in one.sums:
                    done[name] = done.get(name, False) | due
        self.pending = [one for one in self.pending if one.threads.any()]
        for name, due in done.items():
            ended = due & ~self.under_way(name)
            self.frame.register(name).view(np.float32)[ended] = self.sums[name][ended]


def _check_unchanged(one: Product, due: Array) -> None:
    which = due[one.at * GROUP]
    if any((part.space.words(4)[part.rows[which]] != part.words[which]).any() for part in one.read):
        raise one.ins.fault("shared memory has changed under a product that was under way")


def define(ins: Instruction) -> Bind:
    """``wgmma.fence``, ``wgmma.mma_async``, ``wgmma.commit_group``, ``wgmma.wait_group``"""
    kind, *words = ins.modifiers
    assert words[:2] == ["sync", "aligned"]
    if kind == "mma_async":
        return _multiply(ins, words[2:])
    if kind == "wait_group":
        pending = ins.operands[0]
        assert isinstance(pending, Immediate)
        return lambda frame: _wait(frame, ins, int(pending.value))
    return {"fence": _fence, "commit_group": _commit}[kind]


def _fence(frame: Frame) -> Steps:
    def run() -> None:
        frame.products.ready[frame.active()] = True

    return run, run


def _commit(frame: Frame) -> Steps:
    def run() -> None:
        frame.products.closed[frame.active()] += 1

    return run, run


def _wait(frame: Frame, ins: Instruction, pending: int) -> Steps:
    def run() -> None:
        _whole_groups(frame, ins)
        threads = frame.active()
        frame.products.finish(threads, frame.products.closed[threads] - pending)

    return run, run


def proxy_fence(ins: Instruction) -> Bind:
    """``fence.proxy.async.shared::cta``: products see what the thread has stored before."""
    assert ins.modifiers in (("proxy", "async"), ("proxy", "async", "shared::cta"))

    def bind(frame: Frame) -> Steps:
        def run() -> None:
            if frame.checked:
                frame.products.fences[frame.active()] = frame.races.pass_time()

        return run, run

    return bind


def _whole_groups(frame: Frame, ins: Instruction) -> Array:
    """Which warpgroups are at work; Fault where one has not all its threads."""
    if frame.per_block % GROUP:
        raise ins.fault(f"blocks of {frame.per_block} threads have a warpgroup that is not whole")
    here = np.ones(frame.count, bool) if frame.lanes is None else frame.mask
    groups = here.reshape(-1, GROUP)
    some = groups.any(axis=1)
    if not groups[some].all():
        raise ins.fault(f"{frame.place(int(frame.active()[0]))}: threads of its warpgroup are elsewhere")
    return np.flatnonzero(some)


def _multiply(ins: Instruction, words: list[str]) -> Bind:
    """``wgmma.mma_async.sync.aligned.m64nNk8.f32.tf32.tf32 d, a-desc, b-desc, scale-d, 1, 1``"""
    columns = int(words[0].removeprefix(f"m{ROWS}n").removesuffix(f"k{STEP}"))
    assert words[0] == f"m{ROWS}n{columns}k{STEP}" and words[1:] == ["f32", "tf32", "tf32"]
    assert columns % 8 == 0 and 8 <= columns <= 256
    target, left, right, scale, *signs = ins.operands
    assert isinstance(target, Vector) and len(target.parts) == columns // 2
    assert [one.value for one in signs if isinstance(one, Immediate)] == [1, 1]
    names = tuple(one.name for one in target.parts if isinstance(one, Register))
    assert len(set(names)) == columns // 2

    def bind(frame: Frame) -> Steps:
        registers = [frame.write(one, "f32") for one in target.parts]
        starts = [frame.read(one, "b64") for one in (left, right)]
        adds = frame.predicate(scale)

        def run() -> None:
            groups = _whole_groups(frame, ins)
            threads = np.zeros(frame.count, bool)
            threads.reshape(-1, GROUP)[groups] = True
            if not frame.products.ready[threads].all():
                raise ins.fault("no wgmma.fence came before")
            a, b = (
                _operand(frame, ins, groups, one, lines) for one, lines in zip(starts, (ROWS, columns), strict=True)
            )
            product = np.matmul(_factors(a), _factors(b).transpose(0, 2, 1))
            added = np.broadcast_to(adds(), (frame.count,))
            _add(frame, threads, names, registers, fragments(product), added)
            closed = frame.products.closed.copy()
            frame.products.pending.append(Product(ins, threads, closed, names, groups, (a, b)))

        return run, run

    return bind


def fragments(products: Array) -> Array:
    """By warpgroup, thread and register the elements of products (groups, 64, columns): PTX ISA, "D fragments"."""
    thread, register = np.arange(GROUP)[:, None], np.arange(products.shape[2] // 2)
    warp, lane = thread // 32, thread % 32
    row = 16 * warp + lane // 4 + 8 * (register // 2 % 2)
    column = 8 * (register // 4) + 2 * (lane % 4) + register % 2
    chosen: Array = products[:, row, column]
    return chosen


def _operand(frame: Frame, ins: Instruction, groups: Array, register: Array, lines: int) -> Share:
    each = np.broadcast_to(register, (frame.count,)).reshape(-1, GROUP)[groups]
    if (each != each[:, :1]).any():
        raise ins.fault("threads of a warpgroup have different descriptors")
    addresses = np.stack([_addresses(ins, int(word), lines) for word in each[:, 0]]).reshape(-1)
    threads = np.repeat(groups * GROUP, lines * STEP)
    (piece,) = pieces(frame, "shared", addresses, threads, 4, ins)
    rows = check(frame, piece, 4, ins, reads=True)
    if frame.checked:
        frame.races.read(piece.space, 4, rows, piece.lanes, ins.line)
        writer = frame.races.unfenced(piece.space, rows, frame.products.fences)
        if writer is not None:
            raise ins.fault(f"{frame.place(writer)} has stored what it reads, with no fence.proxy.async behind that")
    places = rows.reshape(len(groups), lines, STEP)
    return Share(piece.space, places, piece.space.words(4)[places])


def _addresses(ins: Instruction, word: int, lines: int) -> Array:
    """Where the words of an operand are (PTX ISA, "Matrix Descriptor Format", "Swizzling Modes"), (lines, 8).

    In units of 16 bytes: eight lines lie one behind the other, the next eight a stride on; the lowest bits of a unit's
    number are then changed by those three above.
    """
    start, stride, mode = word & 0x3FFF, word >> 32 & 0x3FFF, word >> 62
    if mode not in _UNITS or word >> 49 & 7:
        raise ins.fault(f"descriptor {word:#x}: without swizzling, or with a base offset, it is not known here")
    units = _UNITS[mode]
    if start % 64 >= units or stride % (8 * units):
        raise ins.fault(f"descriptor {word:#x}: the operand does not begin where the pattern of swizzling does")
    line, term = np.arange(lines)[:, None], np.arange(STEP)
    unit = start + line // 8 * stride + line % 8 * units + term // 4
    unit = unit ^ (unit >> 3 & (units - 1))
    addresses: Array = (unit * 16 + term % 4 * 4).astype(np.int64)
    return addresses


def _factors(share: Share) -> Any:
    return (share.words & _TF32).view(np.float32).astype(np.float64)


def _add(
    frame: Frame, threads: Array, names: tuple[str, ...], registers: list[Array], results: Array, added: Array
) -> None:
    """Work out what registers will hold; until then they hold no number."""
    products = frame.products
    flying = products.under_way(names[0])
    for number, (name, register) in enumerate(zip(names, registers, strict=True)):
        sums = products.sums.setdefault(name, np.zeros(frame.count, np.float32))
        before = np.where(flying, sums, register)[threads]
        sums[threads] = np.where(added[threads], before, 0) + results[:, :, number].reshape(-1)
        register[threads] = _NOTHING
