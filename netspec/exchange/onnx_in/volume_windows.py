"""Windows over volumes, (N, C, D, H, W): conv3d and pool3d, whose input is (N, D, H, W, C)."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from netspec.contract.tensor import Tensor
from netspec.exchange.onnx_in.graph_file import Node, Refused
from netspec.exchange.onnx_in.net import Net
from netspec.exchange.onnx_in.node_operands import Operand, Operator, numbers
from netspec.exchange.onnx_in.products import with_bias
from netspec.exchange.onnx_in.views import Places, Value, located, moved
from netspec.exchange.onnx_in.windows import pads_of, short

AXES = 3


def volume(net: Net, name: str, shape: tuple[int, ...]) -> Value:
    """An input of that shape, channels first, as a volume, channels last."""
    batch, channels, *sizes = shape
    tensor = Tensor((batch, *sizes, channels))
    return located(net.add_input(name, tensor), tensor, shape, _places(tensor))


def _places(tensor: Tensor) -> Places:
    example = tensor.shape[1:]
    return np.moveaxis(np.arange(prod(example)).reshape(example), -1, 0)


def also_of_volumes(operator: Operator, of_volumes: Operator) -> Operator:
    """The operator, and another one for values of five axes."""

    def made(net: Net, node: Node, x: Operand, *more: Operand) -> Any:
        if not isinstance(x, Value) or len(x.shape) != 5:
            return operator(net, node, x, *more)
        x = net.settled(x)
        if len(x.tensor.shape) != 5 or not np.array_equal(x.located(), _places(x.tensor)):
            raise Refused(f"what it reads, of shape {x.shape}, is no volume as layers here have them")
        return moved(of_volumes(net, node, x, *more), lambda elements: np.moveaxis(elements, 2, 1))

    return made


def _windows(node: Node, x: Value, size: tuple[int, ...]) -> dict[str, Any]:
    """Size, stride, padding and dilation as attributes."""
    stride, dilation = node.ints("strides", AXES, 1), node.ints("dilations", AXES, 1)
    reach = tuple((one - 1) * apart + 1 for one, apart in zip(size, dilation, strict=True))
    pads = pads_of(node, x, reach, stride)
    before, after = pads[:AXES], pads[AXES:]
    even = short(before) if before == after else [one for pair in zip(before, after, strict=True) for one in pair]
    found = {"stride": short(stride), "pad": even, "dilation": short(dilation)}
    usual = {"stride": 1, "pad": 0, "dilation": 1}
    return {"size": short(size), **{name: one for name, one in found.items() if one != usual[name]}}


def conv(net: Net, node: Node, x: Operand, weight: Operand, bias: Operand = None) -> Value:
    """Conv: filters first become filters last."""
    assert isinstance(x, Value)
    kernels, groups = numbers(weight), node.get("group", 1)
    if kernels.ndim != 5 or groups < 1 or kernels.shape[0] % groups or kernels.shape[1] * groups != x.shape[1]:
        raise Refused(f"weights of shape {kernels.shape} in {groups} groups do not fit an input of {x.shape}")
    attrs: dict[str, Any] = {"filters": kernels.shape[0], **_windows(node, x, kernels.shape[2:])}
    if groups > 1:
        attrs["groups"] = groups
    arrays, taken = {"weight": kernels.transpose(2, 3, 4, 1, 0)}, {"weight": node.inputs[1]}
    with_bias(attrs, arrays, taken, bias, kernels.shape[0], node)
    return net.add("conv3d", attrs, _plain(x), arrays=arrays, taken=taken)


def pool(mode: str, whole: bool = False) -> Operator:
    """MaxPool and AveragePool; over the ``whole`` volume GlobalMaxPool and GlobalAveragePool."""

    def made(net: Net, node: Node, x: Operand) -> Value:
        assert isinstance(x, Value)
        size = {"size": "image"} if whole else _windows(node, x, node.ints("kernel_shape", AXES, 1))
        attrs = {"mode": mode, **size}
        if node.get("ceil_mode", 0):
            attrs["rounding"] = "ceil"
        if mode == "average" and node.get("count_include_pad", 0) and "pad" in attrs:
            attrs["count_include_pad"] = True
        return net.add("pool3d", attrs, _plain(x))

    return made


def _plain(x: Value) -> Value:
    """The layer's output itself."""
    return Value(x.source, x.tensor, x.shape, None)
