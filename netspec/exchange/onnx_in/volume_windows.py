"""Windows over volumes, (N, C, D, H, W): conv3d and pool3d, whose input is (N, D, H, W, C)."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from netspec.contract.tensor import Tensor
from netspec.exchange.onnx_in import windows
from netspec.exchange.onnx_in.graph_file import Node, Refused
from netspec.exchange.onnx_in.net import Net
from netspec.exchange.onnx_in.node_operands import Operand, Operator, numbers, value
from netspec.exchange.onnx_in.views import Places, Value, located, moved


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


def conv(net: Net, node: Node, x: Operand, weight: Operand, bias: Operand = None) -> Value:
    """Conv: filters first become filters last."""
    found, kernels, groups = value(x), numbers(weight), node.get("group", 1)
    if kernels.ndim != 5 or groups < 1 or kernels.shape[0] % groups or kernels.shape[1] * groups != found.shape[1]:
        raise Refused(f"weights of shape {kernels.shape} in {groups} groups do not fit an input of {found.shape}")
    return windows.convolved(net, node, found, kernels, bias, "conv3d")


def pool(mode: str, whole: bool = False) -> Operator:
    """MaxPool and AveragePool; over the ``whole`` volume GlobalMaxPool and GlobalAveragePool."""

    def made(net: Net, node: Node, x: Operand) -> Value:
        if whole:
            return net.add("pool3d", {"mode": mode, "size": "image"}, value(x))
        return windows.pooled(net, node, value(x), mode, "pool3d")

    return made
