"""What a node reads, and what it must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from netspec.exchange.onnx_in.graph_file import Array, Refused
from netspec.exchange.onnx_in.views import Value

Operand = Value | Array | None
"""A value, a constant, or None where an input is left out."""
Result = Value | Array | tuple[Value | Array, ...]
_SMALL = 2**16
"""Numbers of a constant whose memory does not count."""
Operator = Callable[..., Any]
"""A function of the net so far, the node and its operands; gives a result, or raises Refused."""


def value(x: Operand) -> Value:
    """What must be computed."""
    if not isinstance(x, Value):
        raise Refused("it reads a constant where layers here read a value")
    return x


def constant(x: Operand) -> Array:
    """What must be stored."""
    if not isinstance(x, np.ndarray):
        raise Refused("it reads a value where layers here have a constant")
    return x


def numbers(x: Operand) -> Array:
    """A constant of floats, a small one in double precision. Raises Refused where some is not finite."""
    array = constant(x)
    array = array.astype(np.float64 if array.size < _SMALL else np.float32, copy=False)
    if not np.isfinite(array).all():
        raise Refused("its constant holds NaN or infinities")
    return array


def written(number: float) -> float:
    """A float32 as a person would have written it: 1e-4 rather than 9.999999747378752e-05."""
    return float(str(np.float32(number)))
