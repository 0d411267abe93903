"""Floating-point arithmetic of float32 and float64 (PTX ISA 9.7.3), rounded as IEEE 754 says.

Approximate instructions are computed in float64 and rounded: within their tolerance, but not their bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from netspec.emulate.frame import Bind, Frame, Steps, computed, ufunc
from netspec.emulate.instructions import rounding
from netspec.emulate.memory import Array
from netspec.emulate.ptx.syntax_tree import Instruction

NAMES = ("fma", "rcp", "sqrt", "rsqrt", "ex2", "lg2", "sin", "cos", "tanh", "copysign")
TYPES = ("f32", "f64")
_MODES = {"rn", "rz", "rm", "rp"}
_TINY = np.float32(2.0**-126)
_PLAIN: dict[str, Any] = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative,
                          "abs": np.absolute, "sqrt": np.sqrt}  # fmt: skip


class Options(NamedTuple):
    """Decoded modifiers."""

    kind: str
    mode: str
    flush: bool
    saturate: bool
    rough: bool


def flushed(value: Array) -> Array:
    """Subnormal numbers flushed to zeros of their sign."""
    return np.where(np.abs(value) < _TINY, np.copysign(np.float32(0), value), value)


def arithmetic(ins: Instruction) -> Bind:
    """``add.rnd.type d, a, b`` and the other floating-point instructions."""
    options = _options(ins)
    compute = _FUNCTIONS[ins.name]
    plain = _PLAIN.get(ins.name)
    as_is = options.mode == "rn" and not options.flush and not options.saturate and not options.rough

    def bind(frame: Frame) -> Steps:
        kind = options.kind
        target = frame.write(ins.operands[0], kind)
        sources = [frame.read(one, kind) for one in ins.operands[1:]]
        if plain is not None and as_is:
            return ufunc(frame, plain, target, *sources)
        if not options.flush and not options.saturate:
            return computed(frame, target, lambda: compute(options, *sources))
        return computed(frame, target, lambda: _finished(options, compute(options, *_given(options, sources))))

    return bind


def _options(ins: Instruction) -> Options:
    *words, kind = ins.modifiers
    if kind not in TYPES:
        raise ValueError(f"type .{kind}")
    modes = [word for word in words if word in _MODES]
    rest = set(words) - _MODES
    if unknown := rest - {"ftz", "sat", "approx", "full", "NaN"}:
        raise ValueError(f".{min(unknown)}")
    if ("NaN" in rest and ins.name not in ("min", "max")) or ins.name not in _FUNCTIONS:
        raise ValueError(ins.opcode)
    mode = "NaN" if "NaN" in rest else modes[0] if modes else "rn"
    return Options(kind, mode, "ftz" in rest, "sat" in rest, bool(rest & {"approx", "full"}))


def _given(options: Options, sources: list[Array]) -> list[Array]:
    return [flushed(one) for one in sources] if options.flush else sources


def _finished(options: Options, value: Array) -> Array:
    if options.saturate:  # what is no number becomes 0
        value = np.where(value > 0, np.minimum(value, 1), 0).astype(value.dtype)
    return flushed(value) if options.flush else value


def _minimum(options: Options, a: Array, b: Array, *more: Array) -> Any:
    """The other operand where one is NaN, unless .NaN; -0 is less than +0."""
    found = _canonical((np.minimum if options.mode == "NaN" else np.fmin)(a, b))
    equal = np.where(a == b, _signs(np.bitwise_or, a, b), found)
    return _minimum(options, equal, *more) if more else equal


def _maximum(options: Options, a: Array, b: Array, *more: Array) -> Any:
    found = _canonical((np.maximum if options.mode == "NaN" else np.fmax)(a, b))
    equal = np.where(a == b, _signs(np.bitwise_and, a, b), found)
    return _maximum(options, equal, *more) if more else equal


def _canonical(value: Array) -> Array:
    """NaN as PTX's canonical one: all bits set but the sign."""
    bits = value.dtype.itemsize * 8 - 1
    return np.where(np.isnan(value), np.array(2**bits - 1, f"u{value.itemsize}").view(value.dtype), value)


def _signs(function: Any, a: Array, b: Array) -> Any:
    bits = f"u{a.itemsize}"
    return function(a.view(bits), b.view(bits)).view(a.dtype)


def _rough(function: Callable[[Array], Any]) -> Callable[..., Any]:
    """Computed in float64, rounded once."""

    def compute(options: Options, value: Array) -> Any:
        return function(value.astype(np.float64)).astype(value.dtype)

    return compute


def _divide(options: Options, a: Array, b: Array) -> Any:
    return a / b if options.rough else rounding.divided(a, b, options.mode)


def _reciprocal(options: Options, a: Array) -> Any:
    return _divide(options, np.ones(1, a.dtype), a)


def _root(options: Options, a: Array) -> Any:
    if options.mode != "rn":
        raise ValueError(options.mode)
    return np.sqrt(a)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": lambda options, a, b: rounding.added(a, b, options.mode),
    "sub": lambda options, a, b: rounding.added(a, -b, options.mode),
    "mul": lambda options, a, b: rounding.multiplied(a, b, options.mode),
    "fma": lambda options, a, b, c: rounding.fused(a, b, c, options.mode),
    "mad": lambda options, a, b, c: rounding.fused(a, b, c, options.mode),
    "div": _divide,
    "rcp": _reciprocal,
    "sqrt": _root,
    "rsqrt": _rough(lambda x: 1 / np.sqrt(x)),
    "ex2": _rough(np.exp2),
    "lg2": _rough(np.log2),
    "sin": _rough(np.sin),
    "cos": _rough(np.cos),
    "tanh": _rough(np.tanh),
    "neg": lambda options, a: -a,
    "abs": lambda options, a: np.abs(a),
    "min": _minimum,
    "max": _maximum,
    "copysign": lambda options, a, b: np.copysign(b, a),
}
