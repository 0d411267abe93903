"""Operators that normalise, and softmax: over the batch, over a pixel's channels, or over groups of channels."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from netspec.exchange.onnx_in.graph_file import Array, Graph, Node, Refused
from netspec.exchange.onnx_in.moves import MOVES
from netspec.exchange.onnx_in.net import Net
from netspec.exchange.onnx_in.node_operands import Operand, numbers, value, written
from netspec.exchange.onnx_in.products import cost, rows
from netspec.exchange.onnx_in.views import Value, moved


def batch_norm(
    net: Net, node: Node, x: Operand, scale: Operand, shift: Operand, mean: Operand, variance: Operand
) -> Value:
    """BatchNormalization in inference: a factor and a shift by channel, taken into the layer before where it can be."""
    trains = node.get("training_mode", 0) or (net.graph.opset < 7 and not node.get("is_test", 0))
    if trains or not node.get("spatial", 1):
        raise Refused("it normalises by the batch at hand, or each place for itself")
    found, deviation = value(x), np.sqrt(numbers(variance) + node.get("epsilon", 1e-5))
    if not np.isfinite(deviation).all() or not deviation.all() or len(found.shape) < 2:
        raise Refused("its variances are not above zero")
    factor = numbers(scale) / deviation
    by_channel = (-1, *(1,) * (len(found.shape) - 2))
    shifted = numbers(shift) - numbers(mean) * factor
    return net.affine(found, factor.reshape(by_channel), shifted.reshape(by_channel), node.inputs[0])


def layer_norm(net: Net, node: Node, x: Operand, scale: Operand, shift: Operand = None) -> Value:
    """LayerNormalization over the channels of each pixel or row, or over groups of them."""
    found = value(x)
    groups = _groups_along(found, node.get("axis", -1) % len(found.shape))
    if groups is None or node.get("axis", -1) % len(found.shape) != len(found.shape) - 1:
        raise Refused("it normalises over more or other than the channels of each pixel or row")
    attrs = {"epsilon": written(node.get("epsilon", 1e-5)), **({"groups": groups} if groups > 1 else {})}
    return _normalised(net, node, "layer_norm", attrs, found, numbers(scale), shift)


def instance_norm(net: Net, node: Node, x: Operand, scale: Operand, shift: Operand) -> Value:
    """InstanceNormalization: of each channel, or of groups that Reshape made an axis of."""
    return _group_norm(net, node, value(x), value(x).shape[1], scale, shift)


def group_norm(net: Net, node: Node, x: Operand, scale: Operand, shift: Operand) -> Value:
    """GroupNormalization."""
    return _group_norm(net, node, value(x), node.get("num_groups", 0), scale, shift)


def _group_norm(net: Net, node: Node, x: Value, groups: int, scale: Operand, shift: Operand) -> Value:
    channels = np.moveaxis(np.arange(prod(x.example)).reshape(x.example), -1, 0)
    if groups < 1 or channels.shape[0] % groups or x.located().size != channels.size:
        raise Refused(f"{groups} groups do not divide an input of {x.shape}")
    if not np.array_equal(np.sort(x.located().reshape(groups, -1)), np.sort(channels.reshape(groups, -1))):
        raise Refused("it normalises over other than groups of an image's channels")
    attrs = {"groups": groups, "epsilon": written(node.get("epsilon", 1e-5))}
    return _normalised(net, node, "group_norm", attrs, x, numbers(scale), shift)


def _normalised(
    net: Net, node: Node, type: str, attrs: dict[str, Any], x: Value, scale: Array, shift: Operand
) -> Value:
    """The layer; its numbers, one for each channel, are told for all or for those of a group, or for each group."""
    channels = x.example[-1]
    shifts = np.zeros(1) if shift is None else numbers(shift)
    arrays = {"weight": scale, "bias": shifts}
    for name, array in arrays.items():
        if array.ndim != 1 or channels % array.size:
            raise Refused(f"numbers of shape {array.shape} do not fit {channels} channels")
        per_group = type == "group_norm"
        arrays[name] = array.repeat(channels // array.size) if per_group else np.tile(array, channels // array.size)
    return net.add(type, attrs, x, arrays=arrays, taken=dict(zip(arrays, node.inputs[1:], strict=False)), keeps=True)


def _groups_along(x: Value, axis: int) -> int | None:
    """In how many groups of each pixel's channels, in order, an axis lies; None where it is other than that."""
    if axis == 0:
        return None
    lines = np.moveaxis(x.located(), axis - 1, -1)
    lines = lines.reshape(-1, lines.shape[-1])
    depth, ordered = lines.shape[-1], lines[lines[:, 0].argsort()]
    alike = np.array_equal(ordered.ravel(), np.arange(prod(x.example)))
    return x.example[-1] // depth if alike and x.example[-1] % depth == 0 else None


def softmax(net: Net, node: Node, x: Operand) -> Value:
    """Softmax over the channels; at the end over all numbers, where it is a cost layer's probabilities."""
    found = value(x)
    rank, axis = len(found.shape), node.get("axis", 1 if net.graph.opset < 13 else -1)
    axis = axis % rank if -rank <= axis < rank else 0
    over = prod(found.shape[axis:]) if net.graph.opset < 13 else found.shape[axis]
    if axis and over == prod(found.shape[1:]) and _is_last(net.graph, node):
        made = cost(net, rows(net, found), "softmax_loss")
        if node.op == "LogSoftmax":
            net.notes.append(f"node {node} gives logarithms of probabilities; the network here gives the probabilities")
        return moved(made, lambda places: places.reshape(found.shape))
    if node.op == "LogSoftmax":
        raise Refused("logarithms are understood at the end alone, of rows (N, classes)")
    groups = _groups_along(found, axis)
    if groups is None or over != found.shape[axis]:
        raise Refused(f"it goes along axis {axis} of {found.shape}, which does not have the channels")
    return net.add("softmax", {"groups": groups} if groups > 1 else {}, found, keeps=True)


def _is_last(graph: Graph, node: Node) -> bool:
    """Whether what a node gives is the network's output, but for operators that move elements."""
    name = node.outputs[0]
    while name != graph.output:
        readers = [one for one in graph.nodes if name in one.inputs]
        if len(readers) != 1 or readers[0].op not in (*MOVES, "Identity"):
            return False
        name = readers[0].outputs[0]
    return graph.readers[name] == 1
