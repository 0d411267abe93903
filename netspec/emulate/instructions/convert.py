"""Conversions, cvt (PTX ISA 9.7.9): between integers, floats and the formats of tensor cores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from netspec.emulate.frame import DTYPES, Bind, Frame, Steps, computed
from netspec.emulate.instructions.floats import flushed
from netspec.emulate.instructions.rounding import to_float32
from netspec.emulate.memory import Array
from netspec.emulate.ptx.syntax_tree import SIZES, Instruction

_FLOATS = ("f16", "f32", "f64")
_TO_WHOLE: dict[str, Any] = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
_EXACT = {"rn", "rz", "rm", "rp"}


def convert(ins: Instruction) -> Bind:
    """``cvt.rounding.target.source d, a``"""
    *words, target, source = ins.modifiers
    options = set(words)
    if target in ("tf32", "bf16x2", "bf16", "f16x2"):
        return _narrow(ins, target, options, source)
    if options - {*_TO_WHOLE, *_EXACT, "ftz", "sat"}:
        raise ValueError(f".{min(options)}")
    compute = _function(target, source, options)

    def bind(frame: Frame) -> Steps:
        value = _source(frame, ins, source)
        return computed(frame, _target(frame, ins, target), lambda: compute(value))

    return bind


def _source(frame: Frame, ins: Instruction, kind: str) -> Any:
    if kind == "bf16":
        return frame.read(ins.operands[1], "b16")
    return frame.read(ins.operands[1], kind)


def _target(frame: Frame, ins: Instruction, kind: str) -> Array:
    """The destination in its own width: a narrow result is sign- or zero-extended."""
    name = getattr(ins.operands[0], "name", "_")
    width = frame.register(name).itemsize if name != "_" else SIZES[kind]
    if kind in _FLOATS:
        return frame.write(ins.operands[0], kind)
    return frame.write(ins.operands[0], f"{'s' if kind[0] == 's' else 'u'}{8 * width}")


def _function(target: str, source: str, options: set[str]) -> Callable[[Array], Any]:
    dtype = np.dtype(DTYPES[target])
    if source == "bf16":
        wide = _function(target, "f32", options) if target != "f32" else lambda value: value
        return lambda value: wide((value.astype(np.uint32) << np.uint32(16)).view(np.float32))
    if source in _FLOATS and target in _FLOATS:
        return _between_floats(target, source, options)
    if source in _FLOATS:
        (mode,) = options & set(_TO_WHOLE)
        return lambda value: _to_whole(_TO_WHOLE[mode](_ready(value, options)), dtype)
    if target in _FLOATS:
        mode = next(iter(options & _EXACT), "rn")
        return lambda value: _from_whole(value, dtype, mode)
    if "sat" in options:
        limits = np.iinfo(dtype)
        return lambda value: _clipped(value, limits).astype(dtype)
    return lambda value: value.astype(dtype)


def _ready(value: Array, options: set[str]) -> Array:
    return flushed(value) if "ftz" in options and value.dtype == np.float32 else value


def _between_floats(target: str, source: str, options: set[str]) -> Callable[[Array], Any]:
    dtype = np.dtype(DTYPES[target])
    whole = next((_TO_WHOLE[mode] for mode in options & set(_TO_WHOLE)), None)
    mode = next(iter(options & _EXACT), "rn")

    def compute(value: Array) -> Any:
        value = _ready(value, options)
        value = whole(value) if whole is not None else value
        if source == "f64" and target == "f32":
            value = to_float32(value, np.zeros_like(value), mode)
        elif SIZES[source] > SIZES[target] and mode != "rn":
            raise ValueError(mode)
        value = value.astype(dtype)
        if "sat" in options:
            value = np.where(value > 0, np.minimum(value, 1), 0).astype(dtype)
        return flushed(value) if "ftz" in options and target == "f32" else value

    return compute


def _to_whole(value: Array, dtype: Any) -> Array:
    """Saturating conversion to integers; NaN becomes 0."""
    limits = np.iinfo(dtype)
    wide = value.astype(np.float64)
    inside = (wide >= float(limits.min)) & (wide < float(limits.max) + (1.0 if dtype.itemsize < 8 else 0.0))
    number = np.where(inside, wide, 0.0).astype(dtype)
    number = np.where(wide >= float(limits.max), dtype.type(limits.max), number)
    return np.where(wide < float(limits.min), dtype.type(limits.min), number)


def _clipped(value: Array, limits: Any) -> Array:
    own = np.iinfo(value.dtype)
    return np.clip(value, max(limits.min, own.min), min(limits.max, own.max))


def _from_whole(value: Array, dtype: Any, mode: str) -> Any:
    if mode == "rn":
        return value.astype(dtype)
    if dtype != np.float32 or value.itemsize > 4:
        raise ValueError(mode)
    wide = value.astype(np.float64)
    return to_float32(wide, np.zeros_like(wide), mode)


def to_bf16(value: Array, mode: str = "rn") -> Array:
    """bfloat16 bits, rounded to the nearest even; NaN becomes 0x7fff."""
    bits = np.ascontiguousarray(value).view(np.uint32)
    if mode == "rn":
        bits = bits + (np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)))
    upper = (bits >> np.uint32(16)).astype(np.uint16)
    return np.where(np.isnan(value), np.uint16(0x7FFF), upper)


def to_tf32(value: Array, mode: str = "rna") -> Array:
    """tf32: 13 bits of mantissa rounded off, ties away from zero (rna) or to even (rn)."""
    bits = np.ascontiguousarray(value).view(np.uint32)
    if mode == "rna":
        bits = bits + np.uint32(0x1000)
    elif mode == "rn":
        bits = bits + (np.uint32(0xFFF) + (bits >> np.uint32(13) & np.uint32(1)))
    bits = np.where(np.isfinite(value), bits & np.uint32(0xFFFFE000), value.view(np.uint32))
    return np.where(np.isnan(value), np.uint32(0x7FFFFFFF), bits).astype(np.uint32)


def _narrow(ins: Instruction, target: str, options: set[str], source: str) -> Bind:
    """To tf32, bf16 and packed pairs; of two sources the first goes to the upper half."""
    relu = "relu" in options
    (mode,) = options - {"relu", "satfinite"}
    if source != "f32" or "satfinite" in options or mode not in ("rn", "rz", "rna"):
        raise ValueError(ins.opcode)

    def bind(frame: Frame) -> Steps:
        values = [frame.read(one, "f32") for one in ins.operands[1:]]
        out = frame.write(ins.operands[0], "b16" if target == "bf16" else "b32")

        def compute() -> Any:
            ready = [np.where(value < 0, np.float32(0), value) for value in values] if relu else values
            if target == "tf32":
                return to_tf32(ready[0], mode)
            halves = [to_bf16(one, mode) if target[0] == "b" else _half(one, mode) for one in ready]
            if len(halves) == 1:
                return halves[0]
            return halves[0].astype(np.uint32) << np.uint32(16) | halves[1]

        return computed(frame, out, compute)

    return bind


def _half(value: Array, mode: str) -> Array:
    if mode != "rn":
        raise ValueError(mode)
    return value.astype(np.float16).view(np.uint16)
