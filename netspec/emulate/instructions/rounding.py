"""Directed rounding to float32 of results held as a float64 and its rounding error (error-free transformations)."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from netspec.emulate.memory import Array

_MIDDLE, _BELOW = np.uint64(0x10000000), np.uint64(0x1FFFFFFF)
_TINY = 2.0**-126


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Sum of two float64 and its exact rounding error (Knuth's TwoSum)."""
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)


def to_float32(value: Array, error: Array, mode: str) -> Array:
    """``value + error`` rounded once, for an error below half an ulp of value."""
    if mode == "rn":
        return _nearest(value, error)
    rounded = value.astype(np.float32)
    back = rounded.astype(np.float64)
    above = (back > value) | (back == value) & (error < 0)
    below = (back < value) | (back == value) & (error > 0)
    down = np.nextafter(rounded, np.float32(-np.inf))
    up = np.nextafter(rounded, np.float32(np.inf))
    if mode == "rm":
        return np.where(above, down, rounded)
    if mode == "rp":
        return np.where(below, up, rounded)
    assert mode == "rz"
    return np.where(above & (value > 0), down, np.where(below & (value < 0), up, rounded))


def _nearest(value: Array, error: Array) -> Array:
    """To the nearest even."""
    return (_odd(value, error) if _rounds_twice(value) else value).astype(np.float32)


def _rounds_twice(value: Array) -> bool:
    """Whether rounding an inexact float64 to float32 may differ from rounding once: at a midpoint of two float32.

    Those of subnormal float32 lie elsewhere; zeros are exact.
    """
    if np.count_nonzero((value.view(np.uint64) & _BELOW) == _MIDDLE):
        return True
    tiny = np.abs(value) < _TINY
    return bool(np.count_nonzero(tiny) and np.count_nonzero(value[tiny]))


def _odd(value: Array, error: Array) -> Array:
    """Round to odd: the second rounding then never sees a false midpoint."""
    bits = value.view(np.int64)
    even = (bits & 1) == 0
    outward = (error > 0) == (value > 0)
    moved = np.where(outward, bits + 1, bits - 1)
    return np.where((error != 0) & even & np.isfinite(value), moved, bits).view(np.float64)


def fused(a: Array, b: Array, c: Array, mode: str) -> Array:
    """a * b + c, rounded once."""
    if a.dtype == np.float64:
        assert mode == "rn"
        return _fused_wide(a, b, c)
    product = np.multiply(a, b, dtype=np.float64)  # exact: 24 + 24 bits
    total = product + c
    if mode == "rn" and not _rounds_twice(total):
        return total.astype(np.float32)
    total, error = two_sum(product, c.astype(np.float64))
    return to_float32(total, np.where(np.isfinite(total), error, 0.0), mode)


def _fused_wide(a: Array, b: Array, c: Array) -> Array:
    """The same in float64, element by element."""
    exact: Callable[[float, float, float], float] = getattr(math, "fma", _exact)
    return np.array([exact(*map(float, three)) for three in np.broadcast(a, b, c)], np.float64)


def _exact(a: float, b: float, c: float) -> float:
    if not all(map(math.isfinite, (a, b, c))) or a * b == 0.0:
        return a * b + c
    total = Fraction(a) * Fraction(b) + Fraction(c)
    if total == 0:
        return a * b + c
    try:
        return float(total)
    except OverflowError:
        return math.copysign(math.inf, total)


def added(a: Array, b: Array, mode: str) -> Any:
    """a + b, rounded in that mode."""
    if mode == "rn":
        return a + b
    assert a.dtype == np.float32
    return to_float32(*two_sum(a.astype(np.float64), b.astype(np.float64)), mode)


def multiplied(a: Array, b: Array, mode: str) -> Any:
    """a * b, rounded in that mode."""
    if mode == "rn":
        return a * b
    assert a.dtype == np.float32
    product = a.astype(np.float64) * b
    return to_float32(product, np.zeros_like(product), mode)


def divided(a: Array, b: Array, mode: str) -> Any:
    """a / b, rounded in that mode."""
    if mode == "rn":
        return a / b
    assert a.dtype == np.float32
    wide = a.astype(np.float64) / b
    # what is left has the sign of the error; fmod-like, exact in float64 since all have 24 bits but the quotient
    left = np.array([float(Fraction(float(x)) - Fraction(float(q)) * Fraction(float(y))) * math.copysign(1, y)
                     if math.isfinite(q) else 0.0 for x, y, q in np.broadcast(a, b, wide)])  # fmt: skip
    return to_float32(wide, left, mode)
