"""Modules and kernels ready to launch: variables laid out, instructions split into basic blocks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from netspec.emulate.fault import Fault
from netspec.emulate.frame import SHARED_BASE, SHARED_GAP, Bind, SharedArray, predicated
from netspec.emulate.instructions.dispatch import binding
from netspec.emulate.instructions.parking import may_park
from netspec.emulate.instructions.warp import group_size, is_block_barrier, is_collective, is_full
from netspec.emulate.memory import Memory
from netspec.emulate.ptx.inlining import inline
from netspec.emulate.ptx.operands import Address, Operand, Pair, Register, Symbol, Vector
from netspec.emulate.ptx.parser import parse
from netspec.emulate.ptx.syntax_tree import Body, Instruction, Parameter, Source, Variable, offsets
from netspec.emulate.races import LINE_BITS

_ENDS = {"bra", "ret", "exit", "trap"}
_LINKED = 16
"""Bytes, see _shared."""


@dataclass(slots=True)
class BasicBlock:
    """Instructions with one entry and one exit; collective instructions and barriers start one too."""

    instructions: list[tuple[Instruction, Bind]] = field(default_factory=list)
    names: list[frozenset[str]] = field(default_factory=list)
    """The registers that each instruction names, where products of matrices may be adding to them."""
    terminator: Instruction | None = None
    """A branch or exit; None where control falls through to the next block."""
    collective: Instruction | None = None
    """The collective instruction it starts with: lanes of a warp must have converged before it runs.

    Or one for which threads may have to wait: for a barrier object, or for registers.
    """
    barrier: Instruction | None = None
    """A barrier of the thread block (bar.sync), which is then all that the basic block holds."""


@dataclass(slots=True)
class Kernel:
    """A kernel: parameters, memory that it needs and its basic blocks, which branches name by number."""

    name: str
    parameters: tuple[Parameter, ...]
    shared_bytes: int
    """Bytes of static shared memory, as hardware counts them."""
    static_shared: tuple[SharedArray, ...]
    dynamic_shared: Mapping[str, int]
    """Where dynamic arrays begin: all at one place."""
    local_bytes: int
    registers: Mapping[str, str]
    symbols: Mapping[str, int]
    """Offsets of its shared, local and parameter variables."""
    max_threads: int
    limits: Mapping[str, tuple[int, ...]]
    """Its launch bounds: ``maxntid`` and the like."""
    basic_blocks: list[BasicBlock]
    targets: Mapping[str, int]
    lines: list[str]
    asynchronous: bool
    """Whether it uses asynchronous matrix products (wgmma) or copies of boxes (TMA)."""

    def shared_arrays(self, dynamic_nbytes: int) -> tuple[SharedArray, ...]:
        """All arrays in a block's shared memory, for a launch with so many bytes of dynamic ones."""
        dynamic = (SharedArray(start, dynamic_nbytes, name) for name, start in self.dynamic_shared.items())
        return (*self.static_shared, *itertools.islice(dynamic, 1))


class Module:
    """A parsed module, kernels by name; Fault where it holds PTX that is not implemented."""

    def __init__(self, ptx_text: str) -> None:
        self.text = ptx_text
        lines = ptx_text.splitlines()
        if len(lines) >= 1 << LINE_BITS:
            raise Fault(f"{len(lines)} lines of PTX are more than the emulator counts")
        source = parse(ptx_text)
        self.target = source.target
        self.globals: Mapping[str, Variable] = {one.name: one for one in source.globals}
        """Variables in global and constant memory."""
        self.kernels: Mapping[str, Kernel] = {
            name: _kernel(body, source, lines) for name, body in source.kernels.items()
        }
        self._loaded: WeakKeyDictionary[Memory, dict[str, int]] = WeakKeyDictionary()

    def load(self, memory: Memory) -> Mapping[str, int]:
        """Addresses of the module's variables in a memory; allocated and initialised at the first call."""
        if memory not in self._loaded:
            self._loaded[memory] = {name: _placed(one, memory) for name, one in self.globals.items()}
        return self._loaded[memory]


def _placed(one: Variable, memory: Memory) -> int:
    address = memory.allocate(one.nbytes)
    view = memory.view(address, one.nbytes)
    view[:] = list(one.value) if one.value else 0
    memory.mark_initialised(address, one.nbytes)
    return address


def _kernel(body: Body, source: Source, lines: list[str]) -> Kernel:
    inline(body, source.functions)
    static, dynamic, shared_bytes = _shared(body, source)
    local, local_bytes = offsets({one.name: one for one in body.local})
    splitter = _Splitter(body)
    splitter.split()
    shared = {**{one.name: one.start for one in static}, **dynamic}
    symbols = {**shared, **local, **{one.name: one.offset for one in body.parameters}}
    limit = body.limits.get("maxntid") or body.limits.get("reqntid") or (1024,)
    threads = 1
    for extent in limit:
        threads *= extent
    targets = {label: splitter.starts[place] for label, place in body.labels.items()}
    return Kernel(
        body.name,
        body.parameters,
        shared_bytes,
        static,
        dynamic,
        local_bytes,
        body.registers,
        symbols,
        threads,
        body.limits,
        splitter.basic_blocks,
        targets,
        lines,
        any(one.name == "wgmma" or "bulk" in one.modifiers for one in body.instructions),
    )


def _shared(body: Body, source: Source) -> tuple[tuple[SharedArray, ...], dict[str, int], int]:
    """Layout of shared memory: static arrays that the kernel names, then all dynamic ones at one place; static bytes.

    Each lies further behind the one before than on hardware, by SHARED_GAP. Whatever alignment dynamic ones ask for,
    the linker (nvlink 13.0) gives them 16 bytes where static ones lie before them.
    """
    operands = {one for ins in body.instructions for one in ins.operands if not isinstance(one, Register)}
    text = {name for one in operands for name in _symbols(one)}
    own = [one for one in (*source.shared, *body.shared) if one.name in text or one in body.shared]
    fixed = {one.name: one for one in own if one.name not in source.dynamic}
    places, end = offsets(fixed)
    static = tuple(
        SharedArray(place + SHARED_BASE + number * SHARED_GAP, fixed[name].nbytes, name)
        for number, (name, place) in enumerate(places.items())
    )
    dynamic = [one for one in own if one.name in source.dynamic]
    behind = -(-end // _LINKED) * _LINKED + SHARED_BASE + len(static) * SHARED_GAP
    return static, {one.name: behind for one in dynamic}, end


def _symbols(operand: Operand) -> Iterator[str]:
    """The variables that an operand names."""
    match operand:
        case Symbol(name) | Address(Symbol(name)):
            yield name
        case Vector(parts):
            for part in parts:
                yield from _symbols(part)
        case Pair(first, second):
            yield from _symbols(first)
            yield from _symbols(second)


class _Splitter:
    """Splits instructions into basic blocks: at branches, labels, barriers and collective instructions."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.basic_blocks: list[BasicBlock] = []
        self.starts: dict[int, int] = {}
        """Basic blocks by the index of their first instruction."""
        self.converged = 0
        """Size of the group (warp or warpgroup) known to have converged here; 0 where none is."""

    def split(self) -> None:
        leaders = {0, len(self.body.instructions), *self.body.labels.values()}
        for place, ins in enumerate(self.body.instructions):
            if place in leaders:
                self._start(place)
            self._take(place, ins)
        self._start(len(self.body.instructions))

    def _start(self, place: int) -> BasicBlock:
        if place not in self.starts:
            self.starts[place] = len(self.basic_blocks)
            self.basic_blocks.append(BasicBlock())
            self.converged = 0
        return self.basic_blocks[-1]

    def _take(self, place: int, ins: Instruction) -> None:
        if ins.name in _ENDS:
            self.basic_blocks[-1].terminator = ins
            self._start(place + 1)
        elif may_park(ins):
            self._start(place).collective = ins
            self.basic_blocks[-1].instructions.append((ins, binding(ins)))
            self._start(place + 1)
        elif is_block_barrier(ins):
            self._start(place).barrier = ins
            self._start(place + 1)
        else:
            if is_collective(ins) and self.converged < group_size(ins):
                self._start(place).collective = ins
                self.converged = group_size(ins)
            self.basic_blocks[-1].instructions.append((ins, predicated(ins, binding(ins))))
            if is_collective(ins) and not is_full(ins):
                self.converged = 0
