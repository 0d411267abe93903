"""Operators over rows: products with matrices, and the cost layer at the end."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from netspec.exchange.onnx_in.graph_file import MOST_ELEMENTS, Array, Node, Refused
from netspec.exchange.onnx_in.net import Net
from netspec.exchange.onnx_in.node_operands import Operand, numbers, value
from netspec.exchange.onnx_in.views import Value, moved


def dense(net: Net, x: Value, weight: Array, bias: Operand, node: Node) -> Value:
    """A product with (K, units) of what is flat, whatever order it has: the weights take it on."""
    places, rank = x.located().ravel(), len(x.example)
    if weight.shape[0] != places.size:
        raise Refused(f"weights of shape {weight.shape} do not fit an input of {x.shape}")
    if x.factor is not None:
        weight = weight * np.broadcast_to(x.factor, x.example).ravel()[places][:, None]
    total, units = prod(x.example), weight.shape[1]
    if total * units > max(MOST_ELEMENTS, 4 * weight.size):
        raise Refused(f"it reads {places.size:,} of {total:,} numbers, too few for a dense layer of all")
    ordered = weight
    if total != places.size or not np.array_equal(places, np.arange(total)):
        ordered = np.zeros((total, units), weight.dtype)
        if len(np.unique(places)) == places.size:
            ordered[places] = weight
        else:
            np.add.at(ordered, places, weight)
    plain = replace(x, factor=None)
    if rank not in (1, 3):
        plain, rank = net.add("flatten", {}, replace(plain, places=None)), 1
    shape = (*plain.example[:-1], plain.example[-1], units)
    attrs: dict[str, Any] = {"units": units}
    arrays, taken = {"weight": ordered.reshape(shape)}, {"weight": node.inputs[1]}
    with_bias(attrs, arrays, taken, bias, units, node)
    return net.add("dense", attrs, replace(plain, pad=x.pad), arrays=arrays, taken=taken)


def grouped_rows(net: Net, node: Node, x: Value, kernels: Array, bias: Operand, groups: int) -> Value:
    """A convolution of one pixel is a dense layer, of groups where it has some."""
    if not np.array_equal(x.located().ravel(), np.arange(x.example[0])):
        raise Refused("its channels are not in the order in which a layer gives them")
    attrs: dict[str, Any] = {"units": kernels.shape[0], "groups": groups}
    arrays, taken = {"weight": kernels[:, :, 0, 0].T}, {"weight": node.inputs[1]}
    with_bias(attrs, arrays, taken, bias, kernels.shape[0], node)
    made = net.add("dense", attrs, replace(x, places=None, shape=x.shape[:2]), arrays=arrays, taken=taken)
    return moved(made, lambda places: places.reshape(*places.shape, 1, 1))


def with_bias(
    attrs: dict[str, Any], arrays: dict[str, Array], taken: dict[str, str], bias: Operand, count: int, node: Node
) -> None:
    """The bias of a layer of ``count`` filters or units, where there is one."""
    if bias is None:
        attrs["bias"] = False
        return
    arrays["bias"] = numbers(bias).reshape(-1)
    if len(node.inputs) > 2:
        taken["bias"] = node.inputs[2]
    if arrays["bias"].size != count:
        raise Refused(f"{arrays['bias'].size} biases do not fit {count} filters")


def gemm(net: Net, node: Node, a: Operand, b: Operand, c: Operand = None) -> Value:
    """Gemm: alpha A B + beta C."""
    x, weight = value(a), numbers(b)
    if node.get("transA", 0) or len(x.shape) != 2 or weight.ndim != 2:
        raise Refused(f"products of rows (N, K) are understood, not of {x.shape}, transposed or not")
    weight = weight.T if node.get("transB", 0) else weight
    weight = weight if (alpha := node.get("alpha", 1.0)) == 1 else weight * alpha
    if c is None:
        return dense(net, x, weight, None, node)
    bias = numbers(c) * node.get("beta", 1.0)
    if bias.ndim > 2 or (bias.ndim == 2 and bias.shape[0] != 1):
        raise Refused(f"what it adds differs between the examples of a batch: {bias.shape}")
    if bias.shape[-1:] not in ((), (1,), (weight.shape[1],)):
        raise Refused(f"what it adds, of shape {bias.shape}, does not fit {weight.shape[1]} units")
    return dense(net, x, weight, np.broadcast_to(bias.reshape(-1), (weight.shape[1],)), node)


def mat_mul(net: Net, node: Node, a: Operand, b: Operand) -> Value:
    """MatMul of rows and a constant."""
    x, weight = value(a), numbers(b)
    if len(x.shape) != 2 or weight.ndim != 2:
        raise Refused(f"products of rows (N, K) and a matrix are understood, not of {x.shape} and {weight.shape}")
    return dense(net, x, weight, None, node)


def rows(net: Net, x: Value) -> Value:
    """A value as (N, K), in the order of the file."""
    x = net.whole(net.settled(x))
    if not np.array_equal(x.located().ravel(), np.arange(prod(x.example))):
        raise Refused("its numbers are in another order than a layer here gives them")
    return x if len(x.example) == 1 else net.add("flatten", {}, replace(x, places=None))


def cost(net: Net, x: Value, kind: str) -> Value:
    """A cost layer with its further input; gives the network's answer."""
    name = net.unique("label" if kind == "softmax_loss" else "target")
    shape = x.tensor.shape[:1] if kind == "softmax_loss" else x.tensor.shape
    net.inputs[name] = replace(x.tensor, shape=shape, dtype="int32" if kind == "softmax_loss" else "float32")
    node, net.node = net.node, None
    made = net.add(kind, {}, x, beside=[name])
    net.node = node
    output = "probs" if kind == "softmax_loss" else "prediction"
    return replace(made, source=f"{made.source}.{output}")
