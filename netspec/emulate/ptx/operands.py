"""Operands of PTX instructions (PTX ISA 4.5, 6.4): registers, immediates, vectors, addresses and symbols."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

_INTEGER = re.compile(r"-?(0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)U?")
_HEX_FLOAT = re.compile(r"0([fFdD])([0-9a-fA-F]+)")
_DECIMAL = re.compile(r"-?\d+\.\d*(?:[eE][-+]?\d+)?")
_REGISTER = re.compile(r"%[\w$.]+")
_BRACKET = re.compile(r"[{\[(]")
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


def parse_operands(text: str, own: Callable[[str], str]) -> tuple[Operand, ...]:
    """The operands between commas; ``own`` gives the name that stands for a register's. Raises ValueError."""
    return tuple([_operand(part, own) for part in _split(text)])


def _split(text: str) -> Iterable[str]:
    return _split_outside(text) if _BRACKET.search(text) else filter(None, map(str.strip, text.split(",")))


def _split_outside(text: str) -> Iterator[str]:
    """At commas that are in no brackets."""
    depth, start = 0, 0
    for place, letter in enumerate(text):
        depth += (letter in "{[(") - (letter in "}])")
        if letter == "," and not depth:
            yield text[start:place].strip()
            start = place + 1
    if text[start:].strip():
        yield text[start:].strip()


def _operand(text: str, own: Callable[[str], str]) -> Operand:
    if _REGISTER.fullmatch(text):
        return _own(text, own)
    if text.startswith("{"):
        return Vector(parse_operands(text[1:].removesuffix("}"), own))
    if text.startswith("("):
        return Vector(parse_operands(text[1:].removesuffix(")"), own))
    if text.startswith("["):
        return _place(text[1:].removesuffix("]"), own)
    if "|" in text:
        first, second = text.split("|")
        return Pair(_operand(first.strip(), own), _operand(second.strip(), own))
    if text.startswith("!"):
        return Register(own(text[1:].strip()), True)
    if (number := _number(text)) is not None:
        return number
    return _named(text, own)


def _named(text: str, own: Callable[[str], str]) -> Register | Symbol:
    name, offset = _offset(text)
    if not _NAME.fullmatch(name):
        raise ValueError(f"'{text}' is no operand")
    return _own(name, own, offset)


def _own(name: str, own: Callable[[str], str], offset: int = 0) -> Register | Symbol:
    mine = own(name)
    if mine != name and VARIABLE in mine:
        return Symbol(mine, offset)
    return Register(mine) if name.startswith("%") or mine != name else Symbol(name, offset)


def _offset(text: str) -> tuple[str, int]:
    found = re.fullmatch(r"([\w$%.@]+)\s*([+-])\s*(-?\w+)", text)
    if found is None:
        return text, 0
    return found[1], int(found[3], 0) * (1 if found[2] == "+" else -1)


def _address(text: str, own: Callable[[str], str]) -> Address:
    number = _number(text)
    if isinstance(number, Immediate) and isinstance(number.value, int):
        return Address(None, number.value)
    name, offset = _offset(text)
    base = _named(name, own)
    return Address(base, offset)


def _place(text: str, own: Callable[[str], str]) -> Address | Pair:
    """An address; with coordinates behind it a pair."""
    base, *coordinates = _split(text)
    address = _address(base, own)
    return Pair(address, _operand(coordinates[0], own)) if coordinates else address


def _number(text: str) -> Immediate | None:
    if found := _HEX_FLOAT.fullmatch(text):
        width = 32 if found[1] in "fF" else 64
        bits = int(found[2], 16).to_bytes(width // 8, "little")
        value = struct.unpack("<f" if width == 32 else "<d", bits)[0]
        return Immediate(int(found[2], 16), width) if value != value else Immediate(float(value), width)
    if _INTEGER.fullmatch(text):
        return Immediate(int(text.removesuffix("U"), 0) if not re.fullmatch(r"-?0\d+U?", text) else int(text, 8))
    return Immediate(float(text)) if _DECIMAL.fullmatch(text) else None
