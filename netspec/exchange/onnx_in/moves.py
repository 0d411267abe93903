"""ONNX operators that only move elements: of values they are no layers, of constants they are done at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from netspec.exchange.onnx_in.graph_file import MOST_ELEMENTS, Array, Node, Refused
from netspec.exchange.onnx_in.views import Value, moved

Operand = Value | Array | None


def move(x: Operand, function: Callable[[Array], Array]) -> Value | Array:
    """What numpy makes of the elements. Raises Refused where they do not fit."""
    if x is None:
        raise Refused("it reads nothing")
    if isinstance(x, Value):
        return moved(x, function)
    try:
        return np.asarray(function(x))
    except (ValueError, IndexError, TypeError, OverflowError, np.exceptions.AxisError) as error:
        raise Refused(f"it does not fit a constant of shape {x.shape}: {error}") from None


def numbers(node: Node, name: str, given: Operand) -> list[int] | None:
    """Whole numbers that are an attribute in older opsets and an input in newer ones; None: neither."""
    if isinstance(given, Value):
        raise Refused(f"its {name} are computed, not stored")
    found = node.attributes.get(name) if given is None else given.ravel()[:64].tolist()
    if found is None:
        return None
    if not isinstance(found, list) or not all(isinstance(one, int) for one in found):
        raise Refused(f"its {name} are no whole numbers")
    return found


def reshape(net: Any, node: Node, x: Operand, shape: Operand = None) -> Value | Array:
    """Reshape: 0 keeps an axis, -1 takes what is left."""
    wanted = numbers(node, "shape", shape)
    if wanted is None:
        raise Refused("it names no shape")

    def function(elements: Array) -> Array:
        keeps = not node.get("allowzero", 0)
        sizes = [elements.shape[i] if one == 0 and keeps else one for i, one in enumerate(wanted)]
        return elements.reshape(sizes)

    return move(x, function)


def transpose(net: Any, node: Node, x: Operand) -> Value | Array:
    """Transpose."""
    return move(x, lambda elements: elements.transpose(node.attributes.get("perm")))


def flatten(net: Any, node: Node, x: Operand) -> Value | Array:
    """Flatten."""
    axis = node.get("axis", 1)

    def function(elements: Array) -> Array:
        first = prod(elements.shape[: axis if axis >= 0 else elements.ndim + axis])
        return elements.reshape(first, -1)

    return move(x, function)


def squeeze(net: Any, node: Node, x: Operand, axes: Operand = None) -> Value | Array:
    """Squeeze."""
    given = numbers(node, "axes", axes)
    return move(x, lambda elements: np.squeeze(elements, None if given is None else tuple(given)))


def unsqueeze(net: Any, node: Node, x: Operand, axes: Operand = None) -> Value | Array:
    """Unsqueeze."""
    given = tuple(numbers(node, "axes", axes) or ())
    return move(x, lambda elements: np.expand_dims(elements, given))


def gather(net: Any, node: Node, x: Operand, indices: Operand) -> Value | Array:
    """Gather of stored places."""
    if not isinstance(indices, np.ndarray) or indices.dtype.kind not in "iu":
        raise Refused("its indices are computed, not stored")
    axis = node.get("axis", 0)

    def function(elements: Array) -> Array:
        if elements.size // max(1, elements.shape[axis]) * indices.size > MOST_ELEMENTS:
            raise Refused("it makes a large tensor of a small one")
        return np.take(elements, indices, axis)

    return move(x, function)


def slices(
    net: Any,
    node: Node,
    x: Operand,
    starts: Operand = None,
    ends: Operand = None,
    axes: Operand = None,
    steps: Operand = None,
) -> Value | Array:
    """Slice."""
    first, last = numbers(node, "starts", starts), numbers(node, "ends", ends)
    if first is None or last is None or len(first) != len(last):
        raise Refused("its starts and ends are not given")
    along = numbers(node, "axes", axes) or list(range(len(first)))
    every = numbers(node, "steps", steps) or [1] * len(first)

    def function(elements: Array) -> Array:
        taken = [slice(None)] * elements.ndim
        for axis, start, stop, step in zip(along, first, last, every, strict=True):
            taken[axis] = slice(start, stop, step)
        return elements[tuple(taken)]

    return move(x, function)


def split(net: Any, node: Node, x: Operand, sizes: Operand = None) -> tuple[Value | Array, ...]:
    """Split, evenly unless sizes are given."""
    if x is None:
        raise Refused("it reads nothing")
    axis, count = node.get("axis", 0), len(node.outputs)
    if not -len(x.shape) <= axis < len(x.shape):
        raise Refused(f"there is no axis {axis} in {x.shape}")
    length = x.shape[axis]
    each = -(-length // count)
    given = numbers(node, "split", sizes) or [max(0, min(each, length - each * i)) for i in range(count)]
    if len(given) != count or sum(given) != length or min(given) < 1:
        raise Refused(f"parts of {given} do not make an axis of {length}")
    return tuple(_piece(x, axis, sum(given[:i]), size) for i, size in enumerate(given))


def _piece(x: Value | Array, axis: int, start: int, size: int) -> Value | Array:
    return move(x, lambda elements: np.take(elements, range(start, start + size), axis))


MOVES: Mapping[str, Callable[..., Value | Array | Sequence[Value | Array]]] = {
    "Flatten": flatten,
    "Gather": gather,
    "Reshape": reshape,
    "Slice": slices,
    "Split": split,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
