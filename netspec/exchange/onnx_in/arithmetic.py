"""Operators element by element, of values and constants, and those that join values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from netspec.exchange.onnx_in.graph_file import MOST_ELEMENTS, Array, Node, Refused, array_of
from netspec.exchange.onnx_in.net import Net, by_channel
from netspec.exchange.onnx_in.node_operands import Operand, Operator, Result, constant, numbers, value, written
from netspec.exchange.onnx_in.rearranged import as_image
from netspec.exchange.onnx_in.response import Squares
from netspec.exchange.onnx_in.views import Value, laid_out, located
from netspec.exchange.onnx_in.windows import apart, part_of

FLOATS = (1, 10, 11, 16)
"""float32, float16, double and bfloat16 in TensorProto's numbers."""
_LARGEST = float(np.finfo(np.float32).max)
_NUMPY = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float32, 11: np.float64}


def elementwise(type: str, **attrs: tuple[str, float]) -> Operator:
    """A layer whose attributes are the node's, each by its name there and the default there."""

    def layer(net: Net, node: Node, x: Operand) -> Value:
        given = {key: written(node.get(name, usual)) for key, (name, usual) in attrs.items()}
        return net.add(type, given, value(x), keeps=True)

    return layer


def gelu(net: Net, node: Node, x: Operand) -> Value:
    """Gelu by the error function."""
    if node.get("approximate", "none") != "none":
        raise Refused("it approximates by tanh")
    return net.add("gelu", {}, value(x), keeps=True)


def clip(net: Net, node: Node, x: Operand, low: Operand = None, high: Operand = None) -> Value:
    """Clip, by one bound or two: attributes in older opsets, inputs in newer ones."""
    given = (("low", "min", low, -_LARGEST), ("high", "max", high, _LARGEST))
    bounds = {key: _bound(node.get(name, usual) if one is None else one, usual) for key, name, one, usual in given}
    if bounds == {"low": 0.0, "high": _LARGEST}:
        return net.add("relu", {}, value(x), keeps=True)
    return net.add("clip", bounds, value(x), keeps=True)


def _bound(given: Operand | float, usual: float) -> float:
    """A bound as a number that float32 has."""
    array = np.asarray(given if isinstance(given, float) else constant(given), np.float64)
    if array.size != 1 or np.isnan(array).any():
        raise Refused("its bounds are no single numbers")
    number = float(array.ravel()[0])
    return written(number) if abs(number) < _LARGEST else float(np.copysign(_LARGEST, number))


def prelu(net: Net, node: Node, x: Operand, slope: Operand) -> Value:
    """PRelu of a slope for each channel."""
    found = apart(net.settled(value(x)))
    slopes = by_channel(laid_out(found, numbers(slope)))
    return net.add("prelu", {}, found, arrays={"weight": slopes}, taken={"weight": node.inputs[1]}, keeps=True)


def dropout(net: Net, node: Node, x: Operand, ratio: Operand = None, training: Operand = None) -> Result:
    """Dropout as it is in inference: nothing."""
    share = node.get("ratio", 0.5) if ratio is None else float(constant(ratio).ravel()[0])
    trains = training is not None and constant(training).any()
    if share and (trains or (net.graph.opset < 7 and not node.get("is_test", 0))):
        raise Refused("it drops in inference too")
    if isinstance(x, np.ndarray):
        return x
    if not 0 < share < 1:
        return value(x)
    return net.add("dropout", {"keep": written(1 - written(share)), "mode": "inverted"}, value(x), keeps=True)


def same(net: Net, node: Node, x: Operand) -> Result:
    """What leaves its input as it is."""
    return value(x) if isinstance(x, Value) else constant(x)


def cast(net: Net, node: Node, x: Operand) -> Result:
    """Cast: of values from bytes or floats to floats."""
    to = node.get("to", 1)
    if isinstance(x, np.ndarray):
        if to not in _NUMPY:
            raise Refused(f"it makes a constant of type {to}")
        return x.astype(_NUMPY[to])
    if to not in FLOATS:
        raise Refused("it makes whole numbers")
    return value(x)


def add(net: Net, node: Node, *operands: Operand) -> Result:
    """Add, Sum: of values of one shape, or of a value and a constant."""
    if all(isinstance(one, np.ndarray) for one in operands):
        return fold(np.add, *operands)
    if len(operands) == 2 and any(isinstance(one, np.ndarray) for one in operands):
        x, shift, read = _with_constant(node, *operands)
        return net.affine(x, np.ones(1), shift, read)
    values = [value(one) for one in operands]
    return combined(net, "sum", {}, *values) if len(values) > 1 else values[0]


def combined(net: Net, type: str, attrs: Mapping[str, float], *values: Value) -> Value:
    """Values of one shape, element by element."""
    settled = [net.settled(one) for one in values]
    if any(not np.array_equal(one.located(), settled[0].located()) for one in settled[1:]):
        settled = [as_image(net, one) for one in settled]
    first = settled[0]
    for one in settled[1:]:
        if one.shape != first.shape or one.example != first.example:
            raise Refused(f"it combines what has different shapes: {first.shape} and {one.shape}")
        if not np.array_equal(one.located(), first.located()):
            raise Refused("it combines values of different order")
    return net.add(type, attrs, *settled, keeps=True)


def _with_constant(node: Node, a: Operand, b: Operand) -> tuple[Value, Array, str]:
    if "axis" in node.attributes:
        raise Refused("it says by 'axis' where its constant belongs, as opset 6 does")
    if isinstance(a, Value):
        return apart(a), numbers(b), node.inputs[0]
    return apart(value(b)), numbers(a), node.inputs[1]


def fold(function: Any, *operands: Operand) -> Array:
    """What a function of numpy makes of constants."""
    arrays = [constant(one) for one in operands]
    try:
        if prod(np.broadcast_shapes(*(one.shape for one in arrays))) > MOST_ELEMENTS:
            raise Refused("it makes a large constant of small ones")
        with np.errstate(all="ignore"):
            result = arrays[0]
            for one in arrays[1:]:
                result = function(result, one)
    except ValueError:
        raise Refused("its constants do not fit each other") from None
    return np.asarray(result)


def sub(net: Net, node: Node, a: Operand, b: Operand) -> Result:
    """Sub of values of one shape, or of a value and a constant."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return fold(np.subtract, a, b)
    if isinstance(a, Value) and isinstance(b, Value):
        return combined(net, "axpby", {"beta": -1.0}, a, b)
    x, shift, read = _with_constant(node, a, b)
    return net.affine(x, np.ones(1), -shift, read) if isinstance(a, Value) else net.affine(x, -np.ones(1), shift, read)


def mul(net: Net, node: Node, a: Operand, b: Operand) -> Any:
    """Mul of values of one shape, of an image by a number for each channel, of a value by itself, or by a constant."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return fold(np.multiply, a, b)
    if a is b and isinstance(a, Value):
        return Squares(a)
    if isinstance(a, Value) and isinstance(b, Value):
        return _gated(net, a, b) or _gated(net, b, a) or combined(net, "product", {}, a, b)
    x, factor, read = _with_constant(node, a, b)
    return net.affine(x, factor, np.zeros(1), read)


def _gated(net: Net, x: Value, factor: Value) -> Value | None:
    """An image times a number for each of its channels, (N, C, 1, 1); None where these are other things."""
    if len(x.shape) != 4 or factor.shape != (*x.shape[:2], 1, 1) or x.shape == factor.shape:
        return None
    x, factor = as_image(net, apart(net.settled(x))), net.whole(net.settled(factor))
    ordered = np.array_equal(factor.located().ravel(), np.arange(x.shape[1]))
    if not x.is_image or not ordered or factor.example not in ((x.shape[1],), (1, 1, x.shape[1])):
        return None
    return net.add("gate", {}, x, replace(factor, places=None))


def div(net: Net, node: Node, a: Operand, b: Operand) -> Result:
    """Div by a constant."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        whole = np.floor_divide if a.dtype.kind in "iu" else np.divide
        return fold(whole, a, b)
    factor = numbers(b)
    if not factor.all():
        raise Refused("it divides by zero")
    return net.affine(apart(value(a)), 1 / factor, np.zeros(1), node.inputs[0])


def concat(net: Net, node: Node, *operands: Operand) -> Result:
    """Concat, along channels or of rows."""
    axis = node.get("axis", 1)
    if all(isinstance(one, np.ndarray) for one in operands):
        try:
            return np.concatenate([constant(one) for one in operands], axis)
        except ValueError as error:
            raise Refused(f"its constants do not fit each other: {error}") from None
    values = [value(one) for one in operands]
    if len(values) == 1:
        return values[0]
    parts = [one.part for one in values]
    rank = len(values[0].shape)
    plain = all(one.places is None and one.part is None for one in values)
    if rank not in (4, 5) and axis % rank == rank - 1 and plain:
        return net.add("concat", {}, *values)
    if axis % rank != 1:
        raise Refused(f"it joins along axis {axis}: channels are understood")
    if all(part is not None for part in parts) and all(one.places is None for one in values):
        if (joined := net.joined([part for part in parts if part is not None])) is not None:
            return joined
    bare = not any(one.part or one.pad or one.factor is not None for one in values)
    if bare and len({one.source for one in values}) == 1:
        return _views(values)
    if (interleaved := _interleaved(net, values)) is not None:
        return interleaved
    values = [as_image(net, apart(one)) for one in values]
    if all(one.is_image for one in values):
        return net.add("concat", {}, *values)
    if all(len(one.shape) == 2 for one in values):
        return _joined_rows(net, [net.settled(one) for one in values])
    raise Refused("it joins what is neither all images nor all rows")


def _interleaved(net: Net, values: list[Value]) -> Value | None:
    """The first parts of several images, then their second parts, and so on: a concat of groups."""
    split = any(one.part is None and not one.is_image for one in values) and all(len(one.shape) == 4 for one in values)
    parts = [part_of(one) for one in values] if split else []
    found = [one.part for one in parts if one is not None and one.part is not None]
    if not found or len(found) < len(values):
        return None
    groups = found[0].count
    wholes = [part.whole for part in found[: len(found) // groups]]
    wanted = [(whole.source, index, groups) for index in range(groups) for whole in wholes]
    if [(part.whole.source, part.index, part.count) for part in found] != wanted:
        return None
    return net.add("concat", {"groups": groups}, *wholes)


def _views(values: list[Value]) -> Value:
    """Several views of one tensor are a view."""
    if len({one.shape[2:] for one in values}) > 1:
        raise Refused("what it joins does not fit")
    places = np.concatenate([one.located() for one in values], 0)
    return located(values[0].source, values[0].tensor, (values[0].shape[0], *places.shape), places)


def _joined_rows(net: Net, values: list[Value]) -> Value:
    flat = [one if len(one.example) == 1 else net.add("flatten", {}, replace(one, places=None)) for one in values]
    starts = np.cumsum([0, *(one.example[0] for one in flat)])
    places = np.concatenate([one.located() + start for one, start in zip(values, starts[:-1], strict=True)])
    made = net.add("concat", {}, *(replace(one, places=None) for one in flat))
    return located(made.source, made.tensor, (made.shape[0], places.size), places)


def stored(net: Net, node: Node) -> Array:
    """Constant."""
    for key in ("value_float", "value_floats", "value_int", "value_ints"):
        if key in node.attributes:
            return np.array(node.attributes[key], np.float32 if "float" in key else np.int64)
    if "value" not in node.attributes:
        raise Refused("it holds no numbers")
    return array_of(node.attributes["value"], net.graph.folder)


def filled(net: Net, node: Node, shape: Operand) -> Array:
    """ConstantOfShape."""
    sizes = [int(one) for one in constant(shape).ravel()[:9]]
    if len(sizes) > 8 or any(one < 0 for one in sizes) or prod(sizes) > MOST_ELEMENTS:
        raise Refused(f"it makes a constant of shape {sizes}")
    fill = np.zeros(1, np.float32)
    if "value" in node.attributes:
        fill = array_of(node.attributes["value"], net.graph.folder)
    if fill.size != 1:
        raise Refused("it fills by other than one number")
    return np.full(sizes, fill.ravel()[0])


def shape_of(net: Net, node: Node, x: Operand) -> Array:
    """Shape."""
    assert x is not None
    last = node.get("end", len(x.shape))
    return np.array(x.shape[node.get("start", 0) : last], np.int64)
