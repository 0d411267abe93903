"""Integer arithmetic (PTX ISA 9.7.1), modulo 2 to the power of the width, as in numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from netspec.emulate.frame import DTYPES, Bind, Frame, Steps, computed, ufunc
from netspec.emulate.instructions.extended_precision import CARRYING, carrying
from netspec.emulate.memory import Array
from netspec.emulate.ptx.syntax_tree import Instruction

NAMES = (
    "add", "sub", "mul", "mad", "div", "rem", "abs", "neg", "min", "max", "popc", "clz", "brev", "bfe", "bfi", "prmt",
    "sad", *CARRYING,
)  # fmt: skip
_SIMPLE = {
    "add": np.add, "sub": np.subtract, "min": np.minimum, "max": np.maximum, "abs": np.absolute, "neg": np.negative,
}  # fmt: skip
_TYPES = ("u16", "s16", "u32", "s32", "u64", "s64", "b32", "b64")
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)


def arithmetic(ins: Instruction) -> Bind:
    """``add.type d, a, b`` and the other integer instructions."""
    *modes, kind = ins.modifiers
    if kind not in _TYPES:
        raise ValueError(f"type .{kind}")
    if "cc" in modes or ins.name in CARRYING:
        return carrying(ins)
    if ins.name in _SIMPLE:
        _only(modes)
        return _simple(ins, kind, _SIMPLE[ins.name])
    if ins.name in ("mul", "mad"):
        return _multiply(ins, kind, *modes)
    _only(modes)
    compute = _OTHERS[ins.name]
    width = kind if ins.name not in ("popc", "clz") else "u32"
    kinds = {"bfe": (kind, "u32", "u32"), "bfi": (kind, kind, "u32", "u32")}.get(ins.name, (kind,) * 4)

    def bind(frame: Frame) -> Steps:
        sources = [frame.read(one, each) for one, each in zip(ins.operands[1:], kinds, strict=False)]
        target = frame.write(ins.operands[0], width)
        if ins.name in ("div", "rem"):
            return _checked_division(frame, ins, compute, target, *sources)
        return computed(frame, target, lambda: compute(*sources))

    return bind


def _only(modes: list[str]) -> None:
    if modes:
        raise ValueError(f".{modes[0]}")


def _simple(ins: Instruction, kind: str, function: Any) -> Bind:
    def bind(frame: Frame) -> Steps:
        sources = [frame.read(one, kind) for one in ins.operands[1:]]
        return ufunc(frame, function, frame.write(ins.operands[0], kind), *sources)

    return bind


def _multiply(ins: Instruction, kind: str, mode: str) -> Bind:
    bits = int(kind[1:])
    out = f"{kind[0]}{2 * bits}" if mode == "wide" else kind

    def bind(frame: Frame) -> Steps:
        a, b = (frame.read(one, kind) for one in ins.operands[1:3])
        target = frame.write(ins.operands[0], out)
        if mode == "lo" and ins.name == "mul":
            return ufunc(frame, np.multiply, target, a, b)
        product: Callable[[], Any] = {
            "lo": lambda: np.multiply(a, b),
            "wide": lambda: a.astype(DTYPES[out]) * b.astype(DTYPES[out]),
            "hi": lambda: _high(a, b, kind),
        }[mode]
        if ins.name == "mul":
            return computed(frame, target, product)
        c = frame.read(ins.operands[3], out)
        return computed(frame, target, lambda: product() + c)

    return bind


def _high(a: Array, b: Array, kind: str) -> Any:
    """The upper half of a product."""
    bits = int(kind[1:])
    if bits < 64:
        wide = "i8" if kind[0] == "s" else "u8"
        return (a.astype(wide) * b.astype(wide) >> bits).astype(DTYPES[kind])
    x, y = a.view(np.uint64), b.view(np.uint64)
    low, middle = (x & _LOW) * (y & _LOW), (x >> _HALF) * (y & _LOW)
    middle = middle + (low >> _HALF)
    other = (x & _LOW) * (y >> _HALF) + (middle & _LOW)
    high = (x >> _HALF) * (y >> _HALF) + (middle >> _HALF) + (other >> _HALF)
    if kind[0] == "s":  # a negative number is 2 ** 64 less than it looks
        high = high - np.where(a < 0, y, np.uint64(0)) - np.where(b < 0, x, np.uint64(0))
        return high.view(np.int64)
    return high


def _checked_division(frame: Frame, ins: Instruction, compute: Any, target: Array, a: Array, b: Array) -> Steps:
    """Division; Fault on zero, whose result depends on the machine."""

    def run() -> None:
        zero = np.broadcast_to(b == 0, (frame.count,))
        zero = zero if frame.lanes is None else zero & frame.mask
        if zero.any():
            raise ins.fault("divides by zero", thread=frame.thread_name(int(zero.argmax())))
        np.copyto(target, compute(a, b), where=True if frame.lanes is None else frame.mask)

    return run, run


def _quotient(a: Array, b: Array) -> Any:
    """Rounded towards zero."""
    return a // b if a.dtype.kind == "u" else (a - np.fmod(a, b)) // b


def _leading(a: Array) -> Array:
    bits = 8 * a.itemsize
    number = a.view(f"u{a.itemsize}")
    count = np.full(a.shape, bits, np.uint32)
    for place in range(bits):
        count[number >> number.dtype.type(place) != 0] = bits - 1 - place
    return count


def _reverse(a: Array) -> Array:
    octets = np.ascontiguousarray(a)[:, None].view(np.uint8)
    bits = np.unpackbits(octets, axis=1, bitorder="little")[:, ::-1]
    return np.packbits(bits, axis=1, bitorder="little").view(a.dtype)[:, 0]


def _extract(a: Array, start: Array, length: Array) -> Array:
    """bfe: a bit field, sign-extended from its highest bit, or from the number's where it runs over the end."""
    bits = 8 * a.itemsize
    first, count = (start & 0xFF).astype(np.int64), (length & 0xFF).astype(np.int64)
    number = a.view(f"u{a.itemsize}").astype(np.uint64)
    low = np.where(first < 64, number >> np.minimum(first, 63).astype(np.uint64), 0)
    low = np.where(first < bits, low, 0)
    kept = _ones(np.minimum(count, np.maximum(bits - first, 0)))
    result = low & kept
    if a.dtype.kind == "i":
        sign_at = np.minimum(first + count - 1, bits - 1)
        sign = np.where(count > 0, number >> np.clip(sign_at, 0, 63).astype(np.uint64) & np.uint64(1), 0)
        result = np.where((sign == 1) & (count > 0), result | ~kept, result)
    return result.astype(f"u{a.itemsize}").view(a.dtype)


def _insert(a: Array, b: Array, start: Array, length: Array) -> Array:
    """bfi: the low bits of a inserted into b."""
    bits = 8 * b.itemsize
    first, count = (start & 0xFF).astype(np.int64), (length & 0xFF).astype(np.int64)
    count = np.minimum(count, np.maximum(bits - first, 0))
    shift = np.minimum(first, 63).astype(np.uint64)
    field = _ones(count) << shift
    given = a.view(f"u{a.itemsize}").astype(np.uint64) << shift
    result = b.view(f"u{b.itemsize}").astype(np.uint64) & ~field | given & field
    return result.astype(f"u{b.itemsize}").view(b.dtype)


def _ones(count: Array) -> Array:
    """Masks of so many low bits."""
    whole = count >= 64
    ones = (np.uint64(1) << np.where(whole, 0, count).astype(np.uint64)) - np.uint64(1)
    return np.where(whole, ~np.uint64(0), ones)


def _permute(a: Array, b: Array, selector: Array) -> Array:
    """prmt: a byte permutation of b and a; bit 3 of a selector replicates the byte's sign."""
    eight = a.astype(np.uint64) | b.astype(np.uint64) << _HALF
    result = np.zeros(np.broadcast_shapes(a.shape, b.shape, selector.shape), np.uint32)
    for place in range(4):
        pick = selector >> np.uint32(4 * place) & np.uint32(15)
        octet = (eight >> ((pick & np.uint32(7)) * np.uint32(8)).astype(np.uint64) & np.uint64(255)).astype(np.uint32)
        sign = np.where(octet & np.uint32(128), np.uint32(255), np.uint32(0))
        result |= np.where(pick & np.uint32(8), sign, octet) << np.uint32(8 * place)
    return result


_OTHERS: dict[str, Callable[..., Any]] = {
    "div": _quotient,
    "rem": np.fmod,
    "popc": lambda a: np.bitwise_count(a.view(f"u{a.itemsize}")).astype(np.uint32),
    "clz": _leading,
    "brev": _reverse,
    "bfe": _extract,
    "bfi": _insert,
    "prmt": _permute,
    "sad": lambda a, b, c: c + np.where(a < b, b - a, a - b),
}
