"""Response normalisation in single ONNX operators: x / (k + alpha * the mean of squares over windows) ** beta.

That is what PyTorch's exporter makes of LocalResponseNorm, and netspec's of what the operator LRN does not do. Squares
of a value are followed until the value is divided by a power of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from netspec.exchange.onnx_in.graph_file import Array, Node, Refused
from netspec.exchange.onnx_in.moves import reshape, squeeze, unsqueeze
from netspec.exchange.onnx_in.net import Net
from netspec.exchange.onnx_in.node_operands import written
from netspec.exchange.onnx_in.views import Value

WHAT = "it computes with squares of values: response normalisation alone is understood"


@dataclass(frozen=True)
class Squares:
    """``factor`` times the sums of a value's squares over windows, plus ``shift``, to a power.

    ``view`` is the value as the operators see it; ``windows`` has (size, places before) by axis of the value's tensor,
    None before they are summed; ``pads`` are zeros that were put round it, (before, after) by axis.
    """

    view: Value
    pads: tuple[tuple[int, int], ...] = ()
    windows: Mapping[int, tuple[int, int]] | None = None
    factor: float = 1.0
    shift: float = 0.0
    power: float | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """As the operators see it."""
        return self.view.shape


def average(net: Net, node: Node, x: Squares) -> Squares:
    """AveragePool with what is padded counted: sums over windows."""
    axes = len(x.shape) - 2
    size, stride = node.ints("kernel_shape", axes, 1), node.ints("strides", axes, 1)
    given = node.ints("pads", 2 * axes, 0)
    pads = [(x.pads[2 + i] if x.pads else (0, 0)) for i in range(axes)]
    pads = [(low + given[i], high + given[axes + i]) for i, (low, high) in enumerate(pads)]
    counts = bool(node.get("count_include_pad", 0)) or not any(given)
    outer = x.pads and any(map(any, x.pads[:2]))
    if x.windows is not None or outer or set(stride) != {1} or not counts or node.get("auto_pad", "NOTSET") != "NOTSET":
        raise Refused(WHAT)
    windows: dict[int, tuple[int, int]] = {}
    for axis, (one, (low, high)) in enumerate(zip(size, pads, strict=True)):
        if one == 1 and not low and not high:
            continue
        if low + high != one - 1:
            raise Refused(WHAT)
        windows[_axis_of(x.view, axis + 2)] = (one, low)
    return replace(x, windows=windows, pads=(), factor=x.factor / prod(size))


def _axis_of(view: Value, axis: int) -> int:
    """Which axis of the tensor's example an axis of a view is. Raises Refused where it is none."""
    places, example = view.located(), view.example
    steps = np.unique(np.diff(places, axis=axis - 1))
    for own in range(len(example)):
        whole = places.shape[axis - 1] == example[own]
        if len(steps) == 1 and steps[0] == prod(example[own + 1 :]) and whole:
            return own
    raise Refused(WHAT)


def pad(net: Net, node: Node, x: Squares, pads: Any = None, fill: Any = None, axes: Any = None) -> Squares:
    """Pad by zeros."""
    sides = node.get("pads", []) if pads is None else _array(pads).ravel().tolist()
    filled = node.get("value", 0.0) if fill is None else float(_array(fill).ravel()[0])
    rank = len(x.shape)
    simple = axes is None and not filled and node.get("mode", "constant") == "constant" and not x.pads
    if not simple or x.windows is not None or len(sides) != 2 * rank or min(sides) < 0:
        raise Refused(WHAT)
    return replace(x, pads=tuple((int(sides[i]), int(sides[rank + i])) for i in range(rank)))


def _array(x: Any) -> Array:
    if not isinstance(x, np.ndarray) or not x.size:
        raise Refused(WHAT)
    return x


def _number(x: Any) -> float:
    array = _array(x)
    if array.size != 1 or not np.isfinite(array).all():
        raise Refused(WHAT)
    return float(array.ravel()[0])


def moving(function: Callable[..., Any]) -> Callable[..., Squares]:
    """What moves the elements of squares."""

    def operator(net: Net, node: Node, x: Squares, *more: Any) -> Squares:
        if x.pads or not isinstance(x, Squares):
            raise Refused(WHAT)
        return replace(x, view=function(net, node, x.view, *more))

    return operator


def add(net: Net, node: Node, a: Any, b: Any) -> Squares:
    """Add of k."""
    x, number = (a, _number(b)) if isinstance(a, Squares) else (b, _number(a))
    if x.power is not None:
        raise Refused(WHAT)
    return replace(x, shift=x.shift + number)


def mul(net: Net, node: Node, a: Any, b: Any) -> Squares | Value:
    """Mul by alpha, or of the value by a negative power."""
    x, other = (a, b) if isinstance(a, Squares) else (b, a)
    if isinstance(other, Value):
        return _normalised(net, other, x, -(x.power or 0.0))
    if x.power is not None:
        raise Refused(WHAT)
    number = _number(other)
    return replace(x, factor=x.factor * number, shift=x.shift * number)


def div(net: Net, node: Node, a: Any, b: Any) -> Squares | Value:
    """Div of the value by a power, or by a number."""
    if isinstance(a, Value) and isinstance(b, Squares):
        return _normalised(net, a, b, b.power or 0.0)
    number = _number(b)
    if not number or not isinstance(a, Squares) or a.power is not None:
        raise Refused(WHAT)
    return replace(a, factor=a.factor / number, shift=a.shift / number)


def power(net: Net, node: Node, x: Squares, exponent: Any) -> Squares:
    """Pow by beta."""
    if x.power is not None:
        raise Refused(WHAT)
    return replace(x, power=_number(exponent))


def squared(net: Net, node: Node, x: Any, exponent: Any) -> Any:
    """Pow of a value by two."""
    if not isinstance(x, Value) or _number(exponent) != 2:
        raise Refused("powers other than squares have no layer here")
    return Squares(x)


def _normalised(net: Net, x: Value, squares: Squares, beta: float) -> Value:
    """The layer."""
    view, windows = squares.view, squares.windows or {}
    alike = x.source == view.source and x.part is view.part and np.array_equal(x.located(), view.located())
    centred = {size for size, before in windows.values() if before == size // 2}
    if not alike or len(centred) != 1 or any(before != size // 2 for size, before in windows.values()) or beta <= 0:
        raise Refused(WHAT)
    (size,), last = centred, len(x.example) - 1
    kind = {(last,): "lrn", (0, 1): "lrn_within"}.get(tuple(sorted(windows)))
    if kind is None or (kind == "lrn_within" and last != 2) or squares.shift <= 0:
        raise Refused(WHAT)
    alpha = squares.factor * size ** len(windows)
    constants = {"alpha": written(alpha), "beta": written(beta), "k": written(squares.shift)}
    return net.add(kind, {"size": size, **constants, "scaling": "window"}, x, keeps=True)


WITH_SQUARES: Mapping[str, Callable[..., Squares | Value]] = {
    "Add": add,
    "AveragePool": average,
    "Div": div,
    "Mul": mul,
    "Pad": pad,
    "Pow": power,
    "Reshape": moving(reshape),
    "Squeeze": moving(squeeze),
    "Unsqueeze": moving(unsqueeze),
}
"""What is done with squares, by operator."""
