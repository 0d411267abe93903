"""Windows over signals, (N, C, L): images of height 1 here, (N, 1, L, C), with windows of height 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from netspec.contract.tensor import Tensor
from netspec.exchange.onnx_in.graph_file import Graph, Node
from netspec.exchange.onnx_in.net import Net
from netspec.exchange.onnx_in.node_operands import Operand, Operator
from netspec.exchange.onnx_in.views import Value, located, moved

WINDOWED = ("AveragePool", "Conv", "ConvTranspose", "GlobalAveragePool", "GlobalMaxPool", "MaxPool")
_OF_HEIGHT: Mapping[str, list[int]] = {
    "kernel_shape": [1], "strides": [1], "dilations": [1], "output_padding": [0], "output_shape": [1],
}  # fmt: skip


def is_signal(graph: Graph, name: str, passed: tuple[str, ...]) -> bool:
    """Whether the first thing that is done to an input, but for single numbers, is a window's along all its axes."""
    while True:
        readers = [node for node in graph.nodes if name in node.inputs]
        if any(node.op in WINDOWED for node in readers):
            return True
        if len(readers) != 1 or readers[0].op not in passed or not readers[0].outputs:
            return False
        name = readers[0].outputs[0]


def signal(net: Net, name: str, shape: tuple[int, ...]) -> Value:
    """An input of that shape, (N, C, L), as an image of height 1."""
    batch, channels, length = shape
    tensor = Tensor((batch, 1, length, channels))
    places = np.arange(length * channels).reshape(length, channels).T
    return located(net.add_input(name, tensor), tensor, shape, places)


def also_of_signals(operator: Operator) -> Operator:
    """The operator, of signals too."""

    def made(net: Net, node: Node, x: Operand, *more: Operand) -> Any:
        if not isinstance(x, Value) or len(x.shape) != 3:
            return operator(net, node, x, *more)
        high = moved(x, lambda elements: elements[:, :, None])
        arrays = [one[:, :, None] if isinstance(one, np.ndarray) and one.ndim == 3 else one for one in more]
        return moved(operator(net, _of_images(node), high, *arrays), lambda elements: elements[:, :, 0])

    return made


def _of_images(node: Node) -> Node:
    """The node with attributes of images."""
    attributes = {key: [*_OF_HEIGHT[key], *one] if key in _OF_HEIGHT else one for key, one in node.attributes.items()}
    if len(pads := attributes.get("pads", [])) == 2:
        attributes["pads"] = [0, pads[0], 0, pads[1]]
    return replace(node, attributes=attributes)
