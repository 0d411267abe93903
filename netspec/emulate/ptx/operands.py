"""Operands of PTX instructions (PTX ISA 4.5, 6.4): registers, immediates, vectors, addresses and symbols."""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

_INTEGER = re.compile(r"-?(0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)U?")
_HEX_FLOAT = re.compile(r"0([fFdD])([0-9a-fA-F]+)")
_DECIMAL = re.compile(r"-?\d+\.\d*(?:[eE][-+]?\d+)?")
_REGISTER = re.compile(r"%[\w$.]+")
_BRACKET = re.compile(r"[{\[(]")
_PUNCTUATION = re.compile(r"[{}\[\](),]")
_NAME = re.compile(r"[A-Za-z_$%][\w$.]*")
VARIABLE = "#"
"""Part of the name that stands for a variable of an inner scope; registers have another."""


@dataclass(frozen=True, slots=True)
class Register:
    """A register or special register (``%tid.x``); ``negated`` with an exclamation mark before it."""

    name: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Immediate:
    """An immediate: an int, or a float with the width in bits that it was written in (0 for decimals)."""

    value: int | float
    width: int = 0

    def bits(self, kind: str) -> int:
        """The bit pattern as that type; a float written as 32 bits is only ever that of 32 bits."""
        size = int(re.sub(r"\D", "", kind) or 1)
        if isinstance(self.value, float):
            wide = size == 64
            return int.from_bytes(struct.pack("<d" if wide else "<f", self.value), "little")
        if kind in ("f32", "f64") and not self.width:
            return Immediate(float(self.value)).bits(kind)
        return self.value & ((1 << size) - 1)


@dataclass(frozen=True, slots=True)
class Symbol:
    """A variable, label or parameter by name, with a number of bytes added."""

    name: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Vector:
    """``{a, b}``, several registers as one."""

    parts: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Address:
    """``[base + offset]``; base is None for a number."""

    base: Register | Symbol | None
    offset: int


@dataclass(frozen=True, slots=True)
class Pair:
    """``d|p``: two results; ``[a, {b, c}]``: an address and coordinates."""

    first: Operand
    second: Operand


Operand = Register | Immediate | Symbol | Vector | Address | Pair


def parse_operands(text: str) -> tuple[Operand, ...]:
    """The operands between commas. Raises ValueError."""
    return tuple([_operand(part) for part in _split(text)])


def renamed(operand: Operand, own: Callable[[str], str]) -> Operand:
    """The operand under the names that ``own`` gives for those of registers and variables."""
    match operand:
        case Register(name, True):
            return Register(own(name), True)
        case Register(name) | Symbol(name):
            return _renamed(operand, own(name))
        case Vector(parts):
            return Vector(tuple([renamed(part, own) for part in parts]))
        case Address(Register() | Symbol() as base, offset):
            return Address(_renamed(base, own(base.name)), offset)
        case Pair(first, second):
            return Pair(renamed(first, own), renamed(second, own))
    return operand


def _renamed(operand: Register | Symbol, name: str) -> Register | Symbol:
    if name == operand.name:
        return operand
    return Symbol(name, operand.offset if isinstance(operand, Symbol) else 0) if VARIABLE in name else Register(name)


def _split(text: str) -> Iterable[str]:
    return _split_outside(text) if _BRACKET.search(text) else filter(None, map(str.strip, text.split(",")))


def _split_outside(text: str) -> Iterator[str]:
    """At commas that are in no brackets."""
    depth, start = 0, 0
    for found in _PUNCTUATION.finditer(text):
        letter, place = found[0], found.start()
        depth += (letter in "{[(") - (letter in "}])")
        if letter == "," and not depth:
            yield text[start:place].strip()
            start = place + 1
    if text[start:].strip():
        yield text[start:].strip()


@functools.lru_cache(1 << 16)  # the kernels of a run name the same registers
def _operand(text: str) -> Operand:
    if _REGISTER.fullmatch(text):
        return Register(text)
    if text.startswith("{"):
        return Vector(parse_operands(text[1:].removesuffix("}")))
    if text.startswith("("):
        return Vector(parse_operands(text[1:].removesuffix(")")))
    if text.startswith("["):
        return _place(text[1:].removesuffix("]"))
    if "|" in text:
        first, second = text.split("|")
        return Pair(_operand(first.strip()), _operand(second.strip()))
    if text.startswith("!"):
        return Register(text[1:].strip(), True)
    if (number := _number(text)) is not None:
        return number
    return _named(text)


def _named(text: str) -> Register | Symbol:
    name, offset = _offset(text)
    if not _NAME.fullmatch(name):
        raise ValueError(f"'{text}' is no operand")
    return Register(name) if name.startswith("%") else Symbol(name, offset)


def _offset(text: str) -> tuple[str, int]:
    found = re.fullmatch(r"([\w$%.@]+)\s*([+-])\s*(-?\w+)", text)
    if found is None:
        return text, 0
    return found[1], int(found[3], 0) * (1 if found[2] == "+" else -1)


def _address(text: str) -> Address:
    number = _number(text)
    if isinstance(number, Immediate) and isinstance(number.value, int):
        return Address(None, number.value)
    return Address(_named(_offset(text)[0]), _offset(text)[1])


def _place(text: str) -> Address | Pair:
    """An address; with coordinates behind it a pair."""
    base, *coordinates = _split(text)
    address = _address(base)
    return Pair(address, _operand(coordinates[0])) if coordinates else address


def _number(text: str) -> Immediate | None:
    if found := _HEX_FLOAT.fullmatch(text):
        width = 32 if found[1] in "fF" else 64
        bits = int(found[2], 16).to_bytes(width // 8, "little")
        value = struct.unpack("<f" if width == 32 else "<d", bits)[0]
        return Immediate(int(found[2], 16), width) if value != value else Immediate(float(value), width)
    if _INTEGER.fullmatch(text):
        return Immediate(int(text.removesuffix("U"), 0) if not re.fullmatch(r"-?0\d+U?", text) else int(text, 8))
    return Immediate(float(text)) if _DECIMAL.fullmatch(text) else None
