"""GELU in single ONNX operators: around an Erf, in whatever order they are written, found by what they compute.

The operator Gelu is younger than opset 20, and PyTorch's exporters write x / sqrt(2), Erf, + 1, * x and / 2.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from netspec.exchange.onnx_in.graph_file import Array, Graph, Node, Refused, array_of

_ARITHMETIC: Mapping[str, Callable[..., Array]] = {
    "Add": np.add,
    "Div": np.divide,
    "Erf": np.vectorize(math.erf, otypes=[float]),
    "Mul": np.multiply,
    "Sub": np.subtract,
}
_POINTS = np.linspace(-4, 4, 33)
_GELU = _POINTS * (1 + np.vectorize(math.erf)(_POINTS / math.sqrt(2))) / 2
_STEPS = 4
"""Operators behind an Erf, at most."""


def with_gelus(graph: Graph) -> Graph:
    """The graph with one node for each GELU."""
    for erf in [node for node in graph.nodes if node.op == "Erf"]:
        graph = _replaced(graph, erf)
    return graph


def _replaced(graph: Graph, erf: Node) -> Graph:
    """The graph with a node in the place of those around an Erf, where they are a GELU."""
    by_output = {node.outputs[0]: node for node in graph.nodes if node.outputs}
    scaled = by_output.get(erf.inputs[0]) if erf.inputs else None
    read = scaled.inputs if scaled is not None and scaled.op in _ARITHMETIC else ()
    sources = [name for name in read if _number(graph, by_output, name) is None]
    last = erf
    for _ in range(_STEPS if len(sources) == 1 else 0):
        readers = [node for node in graph.nodes if last.outputs[0] in node.inputs]
        if len(readers) != 1 or readers[0].op not in _ARITHMETIC or last.outputs[0] == graph.output:
            break
        last, seen = readers[0], list[Node]()
        found = _computed(graph, by_output, last.outputs[0], sources[0], seen)
        if found is not None and found.shape == _GELU.shape and np.allclose(found, _GELU, rtol=1e-5, atol=1e-6):
            return _with_one(graph, seen, Node("Gelu", last.name, (sources[0],), last.outputs, {}))
    return graph


def _computed(graph: Graph, by_output: Mapping[str, Node], name: str, source: str, seen: list[Node]) -> Array | None:
    """What a value is at those points of the source, with the nodes that make it; None where other things count."""
    if name == source:
        return _POINTS
    if (number := _number(graph, by_output, name)) is not None:
        return number
    node = by_output.get(name)
    if node is None or node.op not in _ARITHMETIC or len(seen) > 2 * _STEPS:
        return None
    seen.append(node)
    operands = [_computed(graph, by_output, one, source, seen) for one in node.inputs]
    if len(operands) != (1 if node.op == "Erf" else 2) or any(one is None for one in operands):
        return None
    with np.errstate(all="ignore"):
        return _ARITHMETIC[node.op](*operands)


def _number(graph: Graph, by_output: Mapping[str, Node], name: str) -> Array | None:
    """A constant of one number, stored or made by a node."""
    node = by_output.get(name)
    tensor = graph.constants.get(name, node.attributes.get("value") if node and node.op == "Constant" else None)
    try:
        array = None if tensor is None else array_of(tensor, graph.folder)
    except Refused:
        return None
    return None if array is None or array.size != 1 else array.astype(np.float64).reshape(())


def _with_one(graph: Graph, nodes: list[Node], made: Node) -> Graph:
    """The graph with that node in the place of the last of those, and of all others of them that nothing else reads."""
    kept = [node for node in graph.nodes if node.outputs != made.outputs]
    for node in nodes:
        read = {name for one in [*kept, made] if one is not node for name in one.inputs}
        kept = [one for one in kept if one is not node or read & set(node.outputs)]
    place = next(i for i, node in enumerate(graph.nodes) if node.outputs == made.outputs)
    before = {id(node) for node in graph.nodes[:place]}
    kept = [*(node for node in kept if id(node) in before), made, *(node for node in kept if id(node) not in before)]
    readers = Counter([name for node in kept for name in node.inputs] + [graph.output])
    return replace(graph, nodes=kept, readers=readers)
