"""Asynchronous matrix products of a warpgroup, wgmma (PTX ISA 9.7.15), with operands in shared memory.

Products complete as late as allowed: until ``wgmma.wait_group`` their accumulators hold NaN and may not be accessed,
and operands are read when a product is issued and again when it completes; a change in between is a fault. The tensor
cores see writes to shared memory only after ``fence.proxy.async`` of the writing thread, and registers only after
``wgmma.fence``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from netspec.emulate.frame import SHARED_BASE, Bind, Frame, Steps
from netspec.emulate.instructions.load_store import SpaceAccess, check
from netspec.emulate.instructions.matrix_descriptors import TERMS, UNIT, turned_units, units
from netspec.emulate.instructions.mma import elements, left_matrix
from netspec.emulate.memory import Array
from netspec.emulate.ptx.operands import Immediate, Operand, Register, Vector
from netspec.emulate.ptx.syntax_tree import Instruction

GROUP = 128
"""Threads of a warpgroup."""
_ROWS = 64
_RUNNING = 1 << 62
"""Later than any epoch."""
_TYPES = {"tf32": (8, 1), "bf16": (16, 2)}
"""K of an instruction, and elements packed into a register of 32 bits, by type."""


@dataclass(slots=True)
class Product:
    """A product in flight: the shared memory that its warpgroups read, and the values found there."""

    ins: Instruction
    groups: Array
    access: SpaceAccess
    found: Array
    number: int
    """Groups that its warpgroups had committed when it was issued."""


class AsyncProducts:
    """Products of a frame's warpgroups in flight; ``pending`` maps accumulators to their results."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.closed = np.zeros(frame.count, np.int64)
        self.pending: dict[str, tuple[Array, Array, Instruction]] = {}
        """By register: results, the group of each thread that they belong to (-1 for none), and the instruction."""
        self.running: list[Product] = []
        groups = -(-frame.count // GROUP)
        self.fenced = np.zeros(groups, bool)
        """Warpgroups that have passed a fence."""
        self.touched: list[set[str]] = [set() for _ in range(groups)]
        """By warpgroup: registers that other instructions have accessed since its last fence."""
        self.groups: list[int] = []
        """Warpgroups at work."""
        self.last_read = np.zeros((-(-frame.per_block // GROUP), -(-frame.shared.nbytes // UNIT)), np.int64)
        """By warpgroup of a block and 16 bytes of shared memory: the epoch in which its last product had read them."""
        self.writers = np.zeros(-(-frame.shared.nbytes // UNIT) * UNIT // 4, np.int32)
        """By word of shared memory the thread, counted from 1, whose write no fence has followed; 0 for none."""

    def enter(self) -> None:
        """The active threads run some instructions."""
        self.groups = np.unique(self.frame.active()[::32] // GROUP).tolist()

    def use(self, ins: Instruction, names: frozenset[str]) -> None:
        """Check an instruction, which names these registers, before it runs; Fault where sums in flight are accessed.

        A move of sums in flight renames them, as ptxas makes no instruction of it; a fence is due behind it.
        """
        if ins.name == "wgmma":
            return
        for group in self.groups:
            self.touched[group] |= names
        if ins.name == "mov" and self._rename(ins):
            return
        if self.pending:
            for name in sorted(names & self.pending.keys()):
                self._check_free(name, ins)

    def _rename(self, ins: Instruction) -> bool:
        target, source = ins.operands
        if not (isinstance(source, Register) and isinstance(target, Register) and source.name in self.pending):
            return False
        values, groups, by = self.pending[source.name]
        active = self.frame.active()
        if (groups[active] < 0).any():
            return False
        own, before, _ = self.pending.get(target.name) or (np.zeros_like(values), np.full_like(groups, -1), by)
        own[active], before[active] = values[active], groups[active]
        self.pending[target.name] = own, before, by
        return True

    def _check_free(self, name: str, ins: Instruction) -> None:
        _, groups, product = self.pending[name]
        active = self.frame.active()
        busy = groups[active] >= 0
        if busy.any():
            thread = self.frame.thread_name(int(active[busy.argmax()]))
            words = f"touches {name}, to which line {product.line} ({product.opcode}) is still adding"
            raise ins.fault(words, thread=thread)

    def wrote(self, size: int, rows: Array, lanes: Array | None) -> None:
        """Note ordinary writes to rows of shared memory."""
        threads = np.arange(1, self.frame.count + 1) if lanes is None else lanes + 1
        if size <= 4:
            self.writers[rows * size // 4] = threads
        else:
            self.writers.reshape(-1, size // 4)[rows] = threads[:, None]

    def check_fenced(self, ins: Instruction, rows: Array) -> None:
        """Fault where rows of 16 bytes have been written with no fence.proxy.async behind."""
        found = self.writers.reshape(-1, UNIT // 4)[rows]
        if found.any():
            writer = int(found[found != 0][0]) - 1
            words = "has written an operand with no fence.proxy.async behind it"
            raise ins.fault(words, thread=self.frame.thread_name(writer))

    def overwritten(self, ins: Instruction, lane: int, rows: Array) -> None:
        """Fault where rows of 16 bytes are to be overwritten that products may still read."""
        last = self.last_read[:, rows].max(axis=1)
        own = np.arange(len(last)) * (GROUP // 32)
        if self.frame.checked:
            late = (last > 0) & ~self.frame.races.sees(lane, own, last)
        else:
            late = last == _RUNNING
        if late.any():
            group = int(late.argmax())
            running = " is still reading" if last[group] == _RUNNING else " has read with nothing that orders the two"
            words = f"overwrites shared memory that a product of warpgroup {group} of its block{running}"
            raise ins.fault(words, thread=self.frame.thread_name(lane))

    def note_read(self, groups: Array, rows: Array, epoch: int) -> None:
        """Products of warpgroups have read rows of 16 bytes, (groups, ...), or are about to."""
        here = groups % len(self.last_read)
        for group, own in zip(here, rows.reshape(len(groups), -1), strict=True):
            self.last_read[group, own] = epoch

    def fence_proxy(self) -> None:
        """Make the active threads' writes visible to the tensor cores."""
        fencing = np.zeros(self.frame.count + 1, bool)
        fencing[self.frame.active() + 1] = True
        self.writers[fencing[self.writers]] = 0

    def complete(self, pending: int) -> None:
        """Complete all but the active threads' last ``pending`` groups."""
        threads = self.frame.active()
        limit = np.full(self.frame.count, -1, np.int64)
        limit[threads] = self.closed[threads] - pending
        for name, (values, groups, _) in list(self.pending.items()):
            due = (groups >= 0) & (groups < limit)
            self.frame.register(name).view(np.float32)[due] = values[due]
            groups[due] = -1
            if (groups < 0).all():
                del self.pending[name]
        self._end([one for one in self.running if one.number < limit[one.groups[0] * GROUP]])

    def _end(self, ended: list[Product]) -> None:
        for one in ended:
            if (_read(self.frame, one.ins, one.access) != one.found).any():
                raise one.ins.fault("shared memory has changed under a product of matrices that was under way")
            epoch = self.frame.races.epoch() if self.frame.checked else 1
            self.note_read(one.groups, one.access.offsets // UNIT, epoch)
        self.running = [one for one in self.running if all(one is not other for other in ended)]


def registers(ins: Instruction) -> frozenset[str]:
    """Names of the registers that an instruction names."""
    found = {ins.guard[0]} if ins.guard else set()
    for operand in ins.operands:
        parts: tuple[Any, ...] = getattr(operand, "parts", None) or (operand, getattr(operand, "base", None))
        found |= {one.name for one in parts if isinstance(one, Register)}
    return frozenset(found)


def asynchronous(ins: Instruction) -> Bind:
    """``wgmma...``: mma_async, fence, commit_group or wait_group."""
    word, *rest = ins.modifiers
    if rest[:2] != ["sync", "aligned"]:
        raise ValueError(ins.opcode)
    if word == "mma_async":
        return _product(ins, *rest[2:])
    if word == "wait_group":
        (pending,) = ins.operands
        assert isinstance(pending, Immediate)
        return lambda frame: _wait(frame, int(pending.value))
    return {"fence": _fence, "commit_group": _commit}[word]


def _wait(frame: Frame, pending: int) -> Steps:
    def run() -> None:
        frame.products.complete(pending)

    return run, run


def _fence(frame: Frame) -> Steps:
    def run() -> None:
        for group in frame.products.groups:
            frame.products.fenced[group] = True
            frame.products.touched[group].clear()

    return run, run


def _commit(frame: Frame) -> Steps:
    def run() -> None:
        frame.products.closed[frame.active()] += 1

    return run, run


def _product(ins: Instruction, shape: str, out: str, left: str, right: str) -> Bind:
    """``d, a, b, scale-d, imm-scale-a, imm-scale-b``; a is a descriptor, or registers in the layout of mma."""
    terms, packed = _TYPES[left]
    columns = int(shape.removeprefix("m64n").removesuffix(f"k{terms}"))
    sums, a, b, scale, *signs = ins.operands
    assert isinstance(sums, Vector) and len(sums.parts) == columns // 2 and out == "f32" and left == right
    negations = [one.value for one in signs[:2] if isinstance(one, Immediate)]
    if len(negations) != 2 or any(one not in (1, -1) for one in negations):
        raise ValueError("scales of the operands")
    turns = _turns(a, signs[2:], packed)
    sign = float(negations[0] * negations[1])

    def bind(frame: Frame) -> Steps:
        added = frame.predicate(scale) if not isinstance(scale, Immediate) else None
        always = isinstance(scale, Immediate) and bool(scale.value)
        if frame.per_block % GROUP:
            raise ins.fault(f"blocks of {frame.per_block} threads are not made of warpgroups of {GROUP}")

        def run() -> None:
            groups = frame.active()[::GROUP] // GROUP
            _check_registers(frame, ins, sums, a)
            keep = np.full(frame.count, always) if added is None else np.broadcast_to(added(), (frame.count,))
            if (keep.reshape(-1, GROUP)[groups] != keep.reshape(-1, GROUP)[groups][:, :1]).any():
                raise ins.fault("the threads of a warpgroup do not agree whether to add to the sums")
            one = _rows(frame, ins, a, groups, packed, turns[0])
            other = _operand(frame, ins, b, columns, groups, packed, turns[1])
            result = sign * np.matmul(one, other.transpose(0, 2, 1))
            _begin(frame, ins, sums, result, groups, keep)

        return run, run

    return bind


def _turns(a: Operand, flags: list[Operand], packed: int) -> tuple[bool, bool]:
    """Which operands lie along their rows or columns; ValueError where none may, or a lies in registers."""
    given = [bool(one.value) for one in flags if isinstance(one, Immediate)]
    if len(given) != len(flags) or (packed == 1 and flags) or len(flags) > (1 if isinstance(a, Vector) else 2):
        raise ValueError("transposed operands")
    left, right = ([False] * (2 - len(given)) + given) if isinstance(a, Vector) else (given or [False, False])
    return left, right


def _check_registers(frame: Frame, ins: Instruction, sums: Vector, a: Operand) -> None:
    products = frame.products
    fragments = {one.name for one in getattr(a, "parts", ()) if isinstance(one, Register)}
    names = {one.name for one in sums.parts if isinstance(one, Register)} | fragments
    for group in products.groups:
        if not products.fenced[group]:
            raise ins.fault("no wgmma.fence comes before")
        if names & products.touched[group]:
            raise ins.fault(f"{min(names & products.touched[group])} was used after the last wgmma.fence")
    for name in fragments & products.pending.keys():
        products._check_free(name, ins)


def _rows(frame: Frame, ins: Instruction, a: Operand, groups: Array, packed: int, turned: bool) -> Any:
    """The left operand of each warpgroup, (groups, 64, terms)."""
    if not isinstance(a, Vector):
        return _operand(frame, ins, a, _ROWS, groups, packed, turned)
    parts = [frame.read(one, "b32").reshape(-1, 8, 4) for one in a.parts]
    matrix = left_matrix(parts, packed)
    return matrix.reshape(-1, _ROWS, matrix.shape[-1])[groups]


def _operand(
    frame: Frame, ins: Instruction, operand: Operand, lines: int, groups: Array, packed: int, turned: bool
) -> Any:
    """An operand's values in shared memory, (groups, lines, terms); the read is recorded."""
    words = np.broadcast_to(frame.read(operand, "u64"), (frame.count,)).reshape(-1, GROUP)[groups]
    if (words != words[:, :1]).any():
        raise ins.fault("the threads of a warpgroup name different operands")
    try:
        places = np.stack([(turned_units if turned else units)(int(word), lines) for word in words[:, 0]])
    except ValueError as error:
        raise ins.fault(str(error)) from error
    if places.min() < SHARED_BASE or places.max() + UNIT > frame.shared_stride:
        raise ins.fault("an operand is outside shared memory")
    offsets = places + frame.block[groups * GROUP][:, None, None] * frame.shared_stride
    lanes = np.repeat(groups * GROUP, places[0].size)
    access = SpaceAccess(frame.shared, offsets.reshape(-1), lanes, None)
    found = _read(frame, ins, access)
    products = frame.products
    products.check_fenced(ins, access.offsets // UNIT)
    products.note_read(groups, access.offsets // UNIT, _RUNNING)
    number = int(products.closed[groups[0] * GROUP])
    products.running.append(Product(ins, groups, access, found, number))
    if turned:
        return _values(found.reshape(len(groups), 2 * TERMS, -1), packed).transpose(0, 2, 1)
    return _values(found.reshape(len(groups), lines, -1), packed)


def _read(frame: Frame, ins: Instruction, access: SpaceAccess) -> Array:
    """The words there, as a read of each warpgroup's first thread, which its second warp must be ordered with too."""
    rows = check(frame, access, UNIT, ins, reads=True)
    if frame.checked and access.lanes is not None:
        frame.races.read(access.space, UNIT, rows, access.lanes, ins.line)
        frame.races.read(access.space, UNIT, rows, access.lanes + 32, ins.line, strong=True)
    return access.space.words(UNIT, np.uint32)[rows].copy()


def _values(words: Array, packed: int) -> Any:
    parts = elements(words, packed)
    return np.stack(parts, axis=-1).reshape(*words.shape[:-1], -1).astype(np.float64)


def _begin(frame: Frame, ins: Instruction, sums: Vector, result: Any, groups: Array, keep: Array) -> None:
    """Accumulators: register 4 j + 2 h + i of thread 32 w + 4 g + q is row 16 w + g + 8 h, column 8 j + 2 q + i."""
    count = len(sums.parts)
    parts = result.reshape(len(groups), 4, 2, 8, count // 4, 4, 2)  # group, w, h, g, j, q, i
    threads = (groups[:, None] * GROUP + np.arange(GROUP)).reshape(-1)
    products = frame.products
    for number, name in enumerate(one.name for one in sums.parts if isinstance(one, Register)):
        register = frame.register(name).view(np.float32)
        values, pending, _ = products.pending.get(name) or (register.copy(), np.full(frame.count, -1, np.int64), ins)
        own = parts[:, :, number // 2 % 2, :, number // 4, :, number % 2].reshape(-1)
        coming = pending[threads] >= 0
        before = np.where(coming, values[threads], register[threads])
        values[threads] = own + np.where(keep[threads], before, 0)
        pending[threads] = products.closed[threads]
        products.pending[name] = values, pending, ins
        register[threads] = np.nan
