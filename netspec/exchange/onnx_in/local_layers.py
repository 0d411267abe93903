"""A locally connected layer as ``netspec export`` writes it: a convolution that copies windows, a product by place.

ONNX has no operator for it, so it is found by its shape: Conv with an identity for weights, Reshape, Transpose, MatMul
by a constant with matrices for each place and group, Transpose, Reshape, and Add of a bias.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from netspec.exchange.onnx_in.graph_file import Array, Graph, Node, Refused
from netspec.exchange.onnx_in.net import Net, tensors_of
from netspec.exchange.onnx_in.node_operands import Operand, numbers
from netspec.exchange.onnx_in.views import Value
from netspec.exchange.onnx_in.windows import image, windows

OP = "netspec.local"
_CHAIN = ("Conv", "Reshape", "Transpose", "MatMul", "Transpose", "Reshape")
_PERMUTATIONS = {2: [3, 1, 0, 2], 4: [2, 1, 3, 0]}
_INPUTS = {"Conv": 2, "Reshape": 2, "Transpose": 1, "MatMul": 2}


def with_local_layers(graph: Graph) -> Graph:
    """The graph with one node for each such chain."""
    by_output = {node.outputs[0]: node for node in graph.nodes if node.outputs}
    replaced: dict[int, Node | None] = {}
    for node in graph.nodes:
        if node.op == "Reshape" and (chain := _chain(graph, by_output, node)):
            attributes = {**chain[0].attributes, "shape": chain[5].inputs[1]}
            reads = (chain[0].inputs[0], chain[3].inputs[1], chain[0].inputs[1])
            made = Node(OP, chain[0].name, reads, node.outputs, attributes)
            replaced |= {id(one): None for one in chain} | {id(node): made}
    nodes = [replaced.get(id(node), node) for node in graph.nodes]
    return replace(graph, nodes=[node for node in nodes if node is not None])


def _chain(graph: Graph, by_output: Mapping[str, Node], last: Node) -> Sequence[Node] | None:
    """The nodes that end in this one, or None where they are no such chain."""
    chain = [last]
    while len(chain) < len(_CHAIN):
        source = chain[0].inputs[0] if chain[0].inputs else ""
        before = by_output.get(source)
        if before is None or graph.readers[source] != 1:
            return None
        chain.insert(0, before)
    if tuple(node.op for node in chain) != _CHAIN or any(len(node.inputs) != _INPUTS[node.op] for node in chain):
        return None
    if any(chain[at].attributes.get("perm") != order for at, order in _PERMUTATIONS.items()):
        return None
    constants = [chain[0].inputs[1], chain[1].inputs[1], chain[3].inputs[1], chain[5].inputs[1]]
    return chain if all(name in graph.constants for name in constants) else None


def weights(copies: Array, stored: Array, channels: int, out: tuple[int, int]) -> Array:
    """(OH, OW, KH, KW, C / groups, filters) of (places, groups, C / groups * KH * KW, filters / groups).

    Raises Refused where ``copies``, (C * KH * KW, C, KH, KW), does not copy the pixels of each window by channels.
    """
    count = channels * copies.shape[2] * copies.shape[3]
    if copies.shape[:2] != (count, channels) or not np.array_equal(copies.reshape(count, count), np.eye(count)):
        raise Refused("its product differs from place to place, and its weights do not copy windows")
    places, groups, rows, share = stored.shape
    if places != out[0] * out[1] or rows * groups != count:
        raise Refused(f"weights of shape {stored.shape} do not fit {out} windows of {count} numbers")
    size, depth = copies.shape[2:], channels // groups
    apart = stored.reshape(*out, groups, depth, *size, share).transpose(0, 1, 4, 5, 3, 2, 6)
    return apart.reshape(*out, *size, depth, groups * share)


def layer(net: Net, node: Node, x: Operand, stored: Operand, copies: Operand) -> Value:
    """The layer, without a bias: an Add behind it is taken into it."""
    found, kernels, matrices = image(net, x), numbers(copies), numbers(stored)
    if kernels.ndim != 4 or matrices.ndim != 4 or node.get("group", 1) != 1:
        raise Refused(f"weights of shapes {kernels.shape} and {matrices.shape} are no local layer's")
    attrs = windows(node, found, kernels.shape[2:])
    groups, filters = matrices.shape[1], matrices.shape[1] * matrices.shape[3]
    attrs = {"filters": filters, **attrs, "bias": False, **({"groups": groups} if groups > 1 else {})}
    out = tensors_of("local", attrs, [found.tensor]).y.shape[1:3]
    weight = weights(kernels, matrices, found.tensor.shape[-1], out)
    if net.graph.array(node.attributes["shape"]).ravel().tolist() not in _shapes(filters, out, found.shape[0]):
        raise Refused("its output is not put together place by place")
    return net.add("local", attrs, found, arrays={"weight": weight}, taken={"weight": node.inputs[1]})


def _shapes(filters: int, out: tuple[int, int], batch: int) -> list[list[int]]:
    return [[first, filters, *out] for first in (0, -1, batch)]
