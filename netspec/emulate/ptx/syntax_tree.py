"""Syntax tree of PTX: modules, kernels, variables, parameters and instructions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from netspec.emulate.fault import Fault, Kind, Place, Site
from netspec.emulate.ptx.operands import Operand

SIZES = {"pred": 1, "b8": 1, "u8": 1, "s8": 1, "b16": 2, "u16": 2, "s16": 2, "f16": 2, "bf16": 2, "f16x2": 4}
SIZES |= {f"{letter}{bits}": bits // 8 for letter in "bus" for bits in (32, 64)} | {"f32": 4, "f64": 8, "b128": 16}
"""Bytes of the types."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A declared variable: size in bytes, alignment and, where there is one, its initialiser."""

    name: str
    nbytes: int
    alignment: int
    value: bytes | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """A kernel's parameter: size, alignment and offset in the parameter block, in bytes."""

    name: str
    size: int
    alignment: int
    offset: int


@dataclass(frozen=True, slots=True)
class Instruction:
    """``@guard name.modifiers operands;`` with its line of the text, counted from 1."""

    name: str
    modifiers: tuple[str, ...]
    operands: tuple[Operand, ...]
    guard: tuple[str, bool] | None
    """A predicate register, and the value that it must have."""
    line: int
    text: str

    @property
    def opcode(self) -> str:
        """Name and modifiers as written."""
        return ".".join((self.name, *self.modifiers))

    def fault(
        self,
        message: str,
        kind: Kind = "",
        thread: str = "",
        place: Place | None = None,
        others: tuple[Site, ...] = (),
        words: str = "",
    ) -> Fault:
        """A Fault with this instruction's line and text; ``message`` goes on behind the thread's name."""
        told = f"{thread}{'' if message[0] in ':;' or not thread else ' '}{message}"
        did = {"ld": "read", "st": "written", "atom": "changed", "red": "changed"}.get(self.name, "")
        sites = (Site(self.line, thread, did), *others)
        return Fault(f"{told}, at line {self.line} of the PTX: {self.text}", kind, sites, place, words or message)


@dataclass(slots=True)
class Body:
    """A kernel as parsed: instructions in order, labels as places among them, registers by name with their types."""

    name: str
    parameters: tuple[Parameter, ...]
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    registers: dict[str, str] = field(default_factory=dict)
    shared: list[Variable] = field(default_factory=list)
    local: list[Variable] = field(default_factory=list)
    limits: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """``maxntid`` and the like."""


@dataclass(frozen=True, slots=True)
class Function:
    """A device function: its body and its formal parameters, results first, variables of ``.param``."""

    body: Body
    formal: tuple[str, ...]


@dataclass(slots=True)
class Source:
    """A module as parsed: kernels by name, and its variables by state space."""

    target: str = ""
    kernels: dict[str, Body] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    shared: list[Variable] = field(default_factory=list)
    dynamic: set[str] = field(default_factory=set)
    """Names of dynamic shared arrays, whose size the launch gives."""
    globals: list[Variable] = field(default_factory=list)


def offsets(variables: Mapping[str, Variable]) -> tuple[dict[str, int], int]:
    """Aligned offsets of variables laid out one behind the other, and their total size in bytes."""
    places: dict[str, int] = {}
    end = 0
    for name, one in variables.items():
        places[name] = -(-end // one.alignment) * one.alignment
        end = places[name] + one.nbytes
    return places, end
