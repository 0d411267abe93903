"""Modules and kernels ready to run: what the parser read, laid out and cut into stretches that run through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from netspec.emulate.calls import inline
from netspec.emulate.dispatch import binding
from netspec.emulate.fault import Fault
from netspec.emulate.frame import SHARED_BASE, Bind, guarded
from netspec.emulate.memory import Memory
from netspec.emulate.operands import Symbol
from netspec.emulate.parser import parse
from netspec.emulate.races import LINE_BITS
from netspec.emulate.syntax import Body, Instruction, Parameter, Source, Variable, offsets
from netspec.emulate.warp import is_block_barrier, is_full, meets_warp, threads_of

_ENDS = {"bra", "ret", "exit", "trap"}


@dataclass(slots=True)
class Stretch:
    """Instructions that follow one another with no jump in or out."""

    binds: list[tuple[Instruction, Bind]] = field(default_factory=list)
    end: Instruction | None = None
    """A jump or the threads' end; None where the next stretch follows."""
    meeting: Instruction | None = None
    """The instruction for which lanes of a warp must be together before any of this runs."""
    barrier: Instruction | None = None
    """A barrier of the block, which is then all there is."""


@dataclass(slots=True)
class Kernel:
    """A kernel: what a launch must bring, what it takes, and its stretches; jumps name stretches by number."""

    name: str
    parameters: tuple[Parameter, ...]
    shared_bytes: int
    """Bytes of static shared memory."""
    local_bytes: int
    registers: Mapping[str, str]
    symbols: Mapping[str, int]
    """Where its shared, local and parameter variables lie."""
    max_threads: int
    stretches: list[Stretch]
    targets: Mapping[str, int]
    lines: list[str]
    asynchronous: bool
    """Whether it has products of matrices that run in the background."""


class Module:
    """PTX that is parsed and known, kernels by name; Fault where it holds what the emulator does not know."""

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
        """Addresses of the module's variables in a memory; allocated and given their first values once."""
        if memory not in self._loaded:
            self._loaded[memory] = {name: _placed(one, memory) for name, one in self.globals.items()}
        return self._loaded[memory]


def _placed(one: Variable, memory: Memory) -> int:
    address = memory.allocate(one.nbytes)
    view = memory.view(address, one.nbytes)
    view[:] = list(one.value) if one.value else 0
    memory.wrote(address, one.nbytes)
    return address


def _kernel(body: Body, source: Source, lines: list[str]) -> Kernel:
    inline(body, source.functions)
    shared, static = _shared(body, source)
    local, local_bytes = offsets({one.name: one for one in body.local})
    cutter = _Cutter(body)
    cutter.cut()
    symbols = {**shared, **local, **{one.name: one.offset for one in body.parameters}}
    limit = body.limits.get("maxntid") or body.limits.get("reqntid") or (1024,)
    threads = 1
    for extent in limit:
        threads *= extent
    targets = {label: cutter.starts[place] for label, place in body.labels.items()}
    return Kernel(
        body.name,
        body.parameters,
        static,
        local_bytes,
        body.registers,
        symbols,
        threads,
        cutter.stretches,
        targets,
        lines,
        any(one.name == "wgmma" for one in body.instructions),
    )


def _shared(body: Body, source: Source) -> tuple[dict[str, int], int]:
    """Static arrays that the kernel names, one behind the other, then the dynamic ones, all in one place."""
    text = {word for one in body.instructions for word in _symbols(one)}
    own = [one for one in (*source.shared, *body.shared) if one.name in text or one in body.shared]
    places, end = offsets({one.name: one for one in own if one.name not in source.dynamic})
    dynamic = [one for one in own if one.name in source.dynamic]
    alignment = max((one.alignment for one in dynamic), default=1)
    places |= {one.name: -(-end // alignment) * alignment for one in dynamic}
    return {name: place + SHARED_BASE for name, place in places.items()}, end


def _symbols(ins: Instruction) -> list[str]:
    def names(operand: object) -> list[str]:
        if isinstance(operand, Symbol):
            return [operand.name]
        inner: Sequence[object] = getattr(operand, "parts", ()) or (getattr(operand, "base", None),)
        return [name for one in inner if one is not None for name in names(one)]

    return [name for operand in ins.operands for name in names(operand)]


class _Cutter:
    """Cuts a kernel's instructions where jumps start or land, at barriers, and where a warp must be together."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.stretches: list[Stretch] = []
        self.starts: dict[int, int] = {}
        """Which stretch starts at which instruction."""
        self.together = 0
        """Of how many threads, side by side, all have come here if one has."""

    def cut(self) -> None:
        leaders = {0, len(self.body.instructions), *self.body.labels.values()}
        for place, ins in enumerate(self.body.instructions):
            if place in leaders:
                self._start(place)
            self._take(place, ins)
        self._start(len(self.body.instructions))

    def _start(self, place: int) -> Stretch:
        if place not in self.starts:
            self.starts[place] = len(self.stretches)
            self.stretches.append(Stretch())
            self.together = 0
        return self.stretches[-1]

    def _take(self, place: int, ins: Instruction) -> None:
        if ins.name in _ENDS:
            self.stretches[-1].end = ins
            self._start(place + 1)
        elif is_block_barrier(ins):
            self._start(place).barrier = ins
            self._start(place + 1)
        else:
            if meets_warp(ins) and self.together < threads_of(ins):
                self._start(place).meeting = ins
                self.together = threads_of(ins)
            self.stretches[-1].binds.append((ins, guarded(ins, binding(ins))))
            if meets_warp(ins) and not is_full(ins):
                self.together = 0
