"""A network in ONNX as a spec and arrays, as netspec has them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from netspec.contract.tensor import Tensor
from netspec.errors import NetspecError, printable
from netspec.exchange.device_cut import cut_over
from netspec.exchange.formats import Asked, Read
from netspec.exchange.levels import levels_of
from netspec.exchange.onnx_in.arithmetic import FLOATS
from netspec.exchange.onnx_in.gelu_nodes import with_gelus
from netspec.exchange.onnx_in.graph_file import MOST_ELEMENTS, Array, Graph, Input, Node, Refused, open_graph
from netspec.exchange.onnx_in.local_layers import OP as LOCAL
from netspec.exchange.onnx_in.local_layers import with_local_layers
from netspec.exchange.onnx_in.moves import MOVES
from netspec.exchange.onnx_in.net import Net
from netspec.exchange.onnx_in.node_operands import Operand
from netspec.exchange.onnx_in.operators import OPERATORS
from netspec.exchange.onnx_in.products import cost, rows
from netspec.exchange.onnx_in.rearranged import rearranged
from netspec.exchange.onnx_in.response import WHAT, WITH_SQUARES, Squares
from netspec.exchange.onnx_in.signal_windows import is_signal, signal
from netspec.exchange.onnx_in.views import Value, located, moved, usual_places, value_of
from netspec.exchange.onnx_in.volume_windows import volume
from netspec.exchange.spec_text import clean, spec_text
from netspec.units import many

COSTS = ("softmax_loss", "mse", "none")
"""What may stand behind an output of rows."""
_BYTES = 2
_ANY_BATCH = 2
"""What a batch of any size is taken for while shapes are followed: with one, an axis could be taken for it."""
_LISTED = 20
_PASSED = ("Cast", "Identity", "Add", "Sub", "Mul", "Div")
_LAST_TO_FIRST = {4: [0, 3, 1, 2], 5: [0, 1, 4, 2, 3]}
_TAKES_PADS = ("Conv", LOCAL)
"""What takes on zeros that are to be put round its input."""
UNKNOWN = object()
"""The value of a node that has no layer."""


def read(file: Path, asked: Asked) -> Read:
    """The network of a file. Raises NetspecError that names each node without a layer here."""
    if asked.cost not in (None, *COSTS):
        raise NetspecError(f"--cost {printable(asked.cost or '')}: no cost layer; there are {', '.join(COSTS)}")
    graph = with_gelus(with_local_layers(open_graph(file, asked.output)))
    net = Net(graph)
    values = _inputs(file, net, asked)
    answer = _followed(file, net, values)
    about = _metadata(graph)
    _answered(file, net, answer, asked.cost or _usual_cost(net, answer, about))
    arrays = {name: np.asarray(array, np.float32) for name, array in net.arrays.items()}
    arrays |= {f"{name}.mean": np.asarray(mean, np.float32) for name, (_, mean) in net.prepared.items()}
    layers, notes = net.layers, list(net.notes)
    if asked.devices:
        layers, told = cut_over(layers, asked.devices)
        notes += told
    text = spec_text(clean(file.stem) or "net", asked.devices or ("main",), net.inputs, layers, _data(file, net, about))
    classes = tuple(map(str, about.get("classes", ())))
    words = {name: one for name, one in zip(classes, map(str, about.get("words", ())), strict=False) if one}
    return Read(arrays, text, net.taken, tuple(graph.unread), classes, tuple(notes), words)


# Inputs -------------------------------------------------------------------------------------------------------------


def _inputs(file: Path, net: Net, asked: Asked) -> dict[str, Any]:
    graph, values = net.graph, {}
    batches = {one.shape[0] for one in graph.inputs if one.shape and one.shape[0] is not None}
    if len(batches) > 1:
        raise NetspecError(f"{printable(file)}: its inputs have batches of different sizes")
    batch = min(batches, default=_ANY_BATCH)
    for one in graph.inputs:
        values[one.name] = _as_asked(file, net, _value(file, net, one, batch), one, asked)
    if not values:
        raise NetspecError(f"{printable(file)}: the network reads no input")
    return values


def _value(file: Path, net: Net, one: Input, batch: int) -> Value:
    name, rank = printable(one.name), len(one.shape)
    if one.dtype not in (_BYTES, *FLOATS):
        raise NetspecError(f"{printable(file)}: its input '{name}' is of whole numbers; floats or bytes are understood")
    if not rank or one.shape[0] == 0 or not all(one.shape[1:]):
        known = [size if size else "?" for size in one.shape]
        remedy = "onnx.tools.update_model_dims.update_inputs_outputs_dims fixes what may be any"
        wanted = f"a batch and fixed sizes are understood; {remedy}"
        raise NetspecError(f"{printable(file)}: its input '{name}' has the shape {known}: {wanted}")
    if prod(size or 0 for size in one.shape[1:]) > MOST_ELEMENTS or batch > MOST_ELEMENTS:
        raise NetspecError(f"{printable(file)}: its input '{name}' has the shape {list(one.shape)}, which is too large")
    given = (batch, *(size or 0 for size in one.shape[1:]))
    if rank == 1:
        tensor = Tensor((batch, 1))
        return moved(value_of(net.add_input(one.name, tensor), tensor), lambda places: places[:, 0])
    if rank == 3 and is_signal(net.graph, one.name, _PASSED):
        return signal(net, one.name, given)
    if rank == 5 and is_signal(net.graph, one.name, _PASSED):
        return volume(net, one.name, given)
    if rank not in _LAST_TO_FIRST:
        return value_of(net.add_input(one.name, Tensor(given)), Tensor(given))
    if _is_channels_last(net.graph, one.name, rank):
        source = net.add_input(one.name, Tensor(given))
        places = np.moveaxis(usual_places(Tensor(given)), -3, -1)
        return located(source, Tensor(given), given, places)
    tensor = Tensor((*given[:-3], *given[-2:], given[-3]))
    return value_of(net.add_input(one.name, tensor), tensor)


def _is_channels_last(graph: Graph, name: str, rank: int) -> bool:
    """Whether the first thing that is done to images, but for single numbers, is to put their channels first."""
    while True:
        readers = [node for node in graph.nodes if name in node.inputs]
        if any(node.op == "Transpose" and node.attributes.get("perm") == _LAST_TO_FIRST[rank] for node in readers):
            return True
        if len(readers) != 1 or readers[0].op not in _PASSED or not readers[0].outputs:
            return False
        name = readers[0].outputs[0]


def _as_asked(file: Path, net: Net, value: Value, one: Input, asked: Asked) -> Value:
    """With ``--mean`` and ``--std`` before it."""
    source = value.source
    if source not in net.prepared:
        return value
    if net.graph.readers[one.name] == 1:
        net.straight[one.name] = source
    if asked.mean is None and asked.std is None:
        if one.dtype != _BYTES and net.graph.producer != "netspec":
            said = "unless --mean and --std say how they were normalised"
            net.notes.append(f"input '{source}' gets images of 0 to 255, {said}")
        return value
    if one.dtype == _BYTES:
        raise NetspecError(f"{printable(file)}: its input takes bytes: --mean and --std are in it already")
    return net.normalised(value, *levels_of(asked, value.tensor.shape[-1]))


# Nodes --------------------------------------------------------------------------------------------------------------


def _followed(file: Path, net: Net, values: dict[str, Any]) -> Value:
    """All nodes in order; gives the value of the output."""
    problems: list[str] = []
    for node in net.graph.nodes:
        net.node = node
        try:
            operands = [_operand(net, values, name) for name in node.inputs]
            known = all(one is not UNKNOWN for one in operands)
            made = _made(net, node, operands) if known else [UNKNOWN] * len(node.outputs)
        except Refused as refused:
            problems.append(f"  node {node}: {refused}")
            made = [UNKNOWN] * len(node.outputs)
        values.update(zip(node.outputs, made, strict=False))
    net.node = None
    if problems:
        more = [f"  and {len(problems) - _LISTED} more"] if len(problems) > _LISTED else []
        count = f"{len(problems)} of {many(len(net.graph.nodes), 'node')} cannot be said by layers here"
        raise NetspecError("\n".join([f"{printable(file)}: {count}:", *problems[:_LISTED], *more]))
    answer = values.get(net.graph.output)
    if not isinstance(answer, Value):
        raise NetspecError(f"{printable(file)}: its output is not what a layer gives")
    return answer


def _operand(net: Net, values: Mapping[str, Any], name: str) -> Any:
    if not name:
        return None
    return values[name] if name in values else net.graph.array(name)


def _made(net: Net, node: Node, operands: Sequence[Operand]) -> Sequence[Any]:
    if node.op not in _TAKES_PADS:
        operands = [net.padded(one) if isinstance(one, Value) else one for one in operands]
    squares = any(isinstance(one, Squares) for one in operands)
    operator = (WITH_SQUARES if squares else OPERATORS).get(node.op)
    if operator is None:
        raise Refused(WHAT if squares else "no layer here does that")
    try:
        inspect.signature(operator).bind(net, node, *operands)
    except TypeError:
        raise Refused(f"it has {many(len(operands), 'input')}") from None
    result = operator(net, node, *operands)
    made = list(result) if isinstance(result, tuple) else [result]
    if any(name in net.graph.readers for name in node.outputs[len(made) :]):
        raise Refused("an output of it is read that inference does not have")
    _trace(net, node, operands, made)
    return made


def _trace(net: Net, node: Node, operands: Sequence[Operand], made: Sequence[Any]) -> None:
    """Keep in mind what is a layer's output as it is, or an input of which all that follows is preparation."""
    first, name = made[0], node.outputs[0]
    if not isinstance(first, Value) or net.graph.readers[name] != 1:
        return
    sources = [net.straight.get(read) for read in node.inputs]
    came = first.source in net.prepared and first.source in sources
    stayed = first.source in sources and node.op in (*_PASSED, *MOVES)
    if came or stayed or all(first.source != one.source for one in operands if isinstance(one, Value)):
        net.straight[name] = first.source


# The answer ---------------------------------------------------------------------------------------------------------


def _usual_cost(net: Net, answer: Value, about: Mapping[str, Any]) -> str:
    """The cost layer where nothing is said: what an output of rows is most often for."""
    if len(answer.shape) != 2 or len(answer.example) not in (1, 3) or any("label" in one for one in net.inputs):
        return "none"
    return "mse" if about.get("classes") == [] else "softmax_loss"


def _answered(file: Path, net: Net, answer: Value, kind: str) -> None:
    """Put the cost layer behind the output, unless it has one."""
    try:
        if "." in answer.source:
            rows(net, answer)
        elif kind != "none":
            cost(net, rows(net, answer), kind)
        else:
            answer = net.settled(answer)
            usual = np.array_equal(answer.located().ravel(), usual_places(answer.tensor).ravel())
            if len(answer.shape) == 2 and len(answer.example) > 1 and not usual:
                rows(net, answer)
            elif answer.part is not None or not usual:
                rearranged(net, answer)
    except Refused as refused:
        raise NetspecError(f"{printable(file)}: its output '{printable(net.graph.output)}': {refused}") from None
    if not net.layers:
        raise NetspecError(f"{printable(file)}: nothing in it is a layer")


# Metadata -----------------------------------------------------------------------------------------------------------


def _metadata(graph: Graph) -> dict[str, Any]:
    """What ``netspec export`` writes beside a graph; of other programs' files, nothing."""
    found: dict[str, Any] = {}
    for key, kind in (("classes", list), ("words", list), ("images", dict)):
        try:
            one = json.loads(graph.metadata.get(key, "null"))
        except (ValueError, RecursionError):
            continue
        if graph.producer == "netspec" and isinstance(one, kind):
            found[key] = one
    return found


def _data(file: Path, net: Net, about: Mapping[str, Any]) -> dict[str, Any]:
    """The spec's section on images."""
    scales = {scale for scale, _ in net.prepared.values()}
    if len(scales) > 1:
        raise NetspecError(f"{printable(file)}: its inputs of images are scaled by different numbers")
    data: dict[str, Any] = {}
    for images in list(about.get("images", {}).values())[:1]:
        if isinstance(images, dict) and isinstance(images.get("resize"), int) and 0 < images["resize"] <= 4096:
            data["resize"] = images["resize"]
            side = next((tensor.shape[-3] for name, tensor in net.inputs.items() if name in net.prepared), 0)
            data |= {"crop": side} if images.get("crop") == [side, side] and side <= images["resize"] else {}
    data["mean"] = _mean_kind([mean for _, mean in net.prepared.values()])
    if scales:
        data["scale"] = float(str(np.float32(scales.pop())))
    return data


def _mean_kind(means: Sequence[Array]) -> str:
    if not any(mean.any() for mean in means):
        return "none"
    return "channel" if all((mean == mean[..., :1, :1, :]).all() for mean in means) else "image"
