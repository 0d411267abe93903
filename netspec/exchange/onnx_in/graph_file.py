"""An ONNX file as plain data, nothing of which is believed: sizes are checked before memory is asked for.

Only the nodes that lead to the output are looked at. Weights may lie in files beside the model, and nowhere else.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, defs, helper, numpy_helper

from netspec.errors import NetspecError, printable
from netspec.rundir.run_files import opened
from netspec.units import size

Array = np.ndarray[Any, Any]

LARGEST = 2**31
"""Bytes of a protobuf message."""
MOST_ELEMENTS = 2**25
"""Elements of an array that is made here and not read: a bound on what a small file can ask for."""
OLDEST = 6
"""Operators before it have other attributes; of 6 what needs them is refused."""
_MOST_AXES = 8
_ATTRIBUTES = {
    AttributeProto.FLOAT: (int, float),
    AttributeProto.INT: (int,),
    AttributeProto.STRING: (str,),
    AttributeProto.FLOATS: (list,),
    AttributeProto.INTS: (list,),
    AttributeProto.TENSOR: (TensorProto,),
}


class Refused(Exception):
    """A node that has no layer here; says why."""


@dataclass(frozen=True, slots=True)
class Node:
    """An operator with its attributes in Python's types."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def get(self, name: str, default: Any) -> Any:
        """An attribute of the type of its default. Raises Refused where it has another."""
        value = self.attributes.get(name, default)
        kind = int if isinstance(default, int) and not isinstance(value, list) else type(default)
        if not isinstance(value, (int, float) if kind is float else kind):
            raise Refused(f"its attribute '{name}' is no {kind.__name__}")
        return value

    def ints(self, name: str, count: int, least: int) -> tuple[int, ...]:
        """A list of ``count`` whole numbers from ``least`` on, which they are where nothing is said."""
        values = self.get(name, [least] * count)
        if len(values) != count or not all(isinstance(one, int) and least <= one < 2**31 for one in values):
            raise Refused(f"its attribute '{name}' is {values}: {count} whole numbers are understood")
        return tuple(values)

    def __str__(self) -> str:
        """What a person finds it by."""
        return f"'{printable(self.name or ', '.join(self.outputs))}' ({printable(self.op)})"


@dataclass(frozen=True, slots=True)
class Input:
    """A value that a model is given: its dtype, and its shape with None for what may be any."""

    name: str
    dtype: int
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """What leads to one output."""

    nodes: Sequence[Node]
    constants: Mapping[str, TensorProto]
    inputs: Sequence[Input]
    output: str
    opset: int
    folder: Path
    producer: str
    metadata: Mapping[str, str]
    readers: Mapping[str, int]
    """By how many nodes, or as the output, a value is read."""
    unread: Sequence[str]
    """Constants that lead nowhere."""

    def array(self, name: str) -> Array:
        """A constant. Raises Refused where what is stored does not fit its shape and type."""
        return array_of(self.constants[name], self.folder)


def open_graph(file: Path, output: str | None = None) -> Graph:
    """What a file holds. Raises NetspecError where that is no model that could be read."""
    model = _parsed(file)
    graph, opset = model.graph, _opset(file, model)
    constants = {one.name: one for one in graph.initializer}
    inputs = [_input(file, one) for one in graph.input if one.name not in constants]
    chosen = _output(file, [one.name for one in graph.output], output)
    nodes = _leading_to(chosen, [_node(file, one) for one in graph.node])
    _check_order(file, nodes, {*constants, *(one.name for one in inputs)}, chosen)
    readers = Counter([name for node in nodes for name in node.inputs] + [chosen])
    return Graph(
        nodes=nodes,
        constants=constants,
        inputs=[one for one in inputs if one.name in readers],
        output=chosen,
        opset=opset,
        folder=file.absolute().parent,
        producer=model.producer_name,
        metadata={one.key: one.value for one in model.metadata_props},
        readers=readers,
        unread=[name for name in constants if name not in readers],
    )


def _parsed(file: Path) -> ModelProto:
    with opened(file) as stream:
        length = stream.seek(0, 2)
        if length >= LARGEST:
            raise NetspecError(f"{printable(file)}: has {size(length)}, and an ONNX model less than {size(LARGEST)}")
        stream.seek(0)
        data = stream.read()
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RecursionError, UnicodeDecodeError, ValueError):
        raise NetspecError(f"{printable(file)}: not an ONNX model, or cut off") from None
    if not model.graph.output:
        raise NetspecError(f"{printable(file)}: not an ONNX model: it has no graph with an output")
    return model


def _opset(file: Path, model: ModelProto) -> int:
    found = [one.version for one in model.opset_import if one.domain in ("", "ai.onnx")]
    newest = defs.onnx_opset_version()
    if len(found) != 1 or not OLDEST <= found[0] <= newest:
        has = ", ".join(map(str, found)) or "none"
        raise NetspecError(f"{printable(file)}: opsets {OLDEST} to {newest} of ONNX are understood, it has {has}")
    return int(found[0])


def _output(file: Path, names: Sequence[str], wanted: str | None) -> str:
    listed = ", ".join(printable(name) for name in names[:10])
    if wanted is not None and wanted not in names:
        raise NetspecError(f"{printable(file)}: has no output '{printable(wanted)}', only {listed}")
    if wanted is None and len(names) > 1:
        raise NetspecError(f"{printable(file)}: has {len(names)} outputs ({listed}); name one by --output")
    return wanted if wanted is not None else names[0]


def _input(file: Path, one: ValueInfoProto) -> Input:
    tensor = one.type.tensor_type
    sizes = [(dim.dim_value, dim.HasField("dim_value")) for dim in tensor.shape.dim]
    shape = tuple(size if known and size >= 0 else None for size, known in sizes)
    if not one.type.HasField("tensor_type") or len(shape) > _MOST_AXES:
        raise NetspecError(f"{printable(file)}: its input '{printable(one.name)}' is no tensor that a layer here reads")
    return Input(one.name, tensor.elem_type, shape)


def _node(file: Path, one: NodeProto) -> Node:
    op = one.op_type if one.domain in ("", "ai.onnx") else f"{one.domain}.{one.op_type}"
    attributes: dict[str, Any] = {}
    for attribute in one.attribute:
        value: Any = helper.get_attribute_value(attribute) if attribute.type in _ATTRIBUTES else None
        value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if attribute.type in (AttributeProto.INTS, AttributeProto.FLOATS) and value is not None:
            value = [*value]
        if value is not None and not isinstance(value, _ATTRIBUTES[attribute.type]):
            what = f"'{printable(attribute.name)}' of a node is not of its type"
            raise NetspecError(f"{printable(file)}: damaged: {what}")
        attributes[attribute.name] = value
    return Node(op, one.name, tuple(one.input), tuple(one.output), attributes)


def _leading_to(output: str, nodes: Sequence[Node]) -> list[Node]:
    used, kept = {output}, []
    for node in reversed(nodes):
        if used & set(node.outputs) - {""}:
            used |= set(node.inputs)
            kept.append(node)
    return kept[::-1]


def _check_order(file: Path, nodes: Sequence[Node], known: set[str], output: str) -> None:
    """Each value is made once, and before it is read: so there is no cycle."""
    for node in nodes:
        for name in node.inputs:
            if name and name not in known:
                which = f"'{printable(name)}', which nothing before it makes"
                raise NetspecError(f"{printable(file)}: damaged: node {node} reads {which}: a cycle, or out of order")
        for name in node.outputs:
            if name and name in known:
                raise NetspecError(f"{printable(file)}: damaged: '{printable(name)}' is made twice")
        known |= set(node.outputs)
    if output not in known:
        raise NetspecError(f"{printable(file)}: damaged: nothing makes its output '{printable(output)}'")


# Arrays -------------------------------------------------------------------------------------------------------------


def array_of(tensor: TensorProto, folder: Path) -> Array:
    """What a tensor holds. Raises Refused."""
    name, dims = printable(tensor.name), list(tensor.dims)
    if len(dims) > _MOST_AXES or any(dim < 0 for dim in dims):
        raise Refused(f"the constant '{name}' has the shape {dims[:10]}")
    try:
        if tensor.data_location == TensorProto.EXTERNAL:
            return _external(tensor, folder)
        array = numpy_helper.to_array(tensor)
    except (TypeError, ValueError, KeyError, OverflowError, RuntimeError, MemoryError) as error:
        raise Refused(f"what is stored of the constant '{name}' does not fit its shape {dims} and type") from error
    if array.dtype.kind not in "fiub":
        array = array.astype(np.float32) if array.dtype.name == "bfloat16" else array
        if array.dtype.kind not in "fiub":
            raise Refused(f"the constant '{name}' is of {array.dtype}")
    return array


def _external(tensor: TensorProto, folder: Path) -> Array:
    """A tensor that lies in a file in the model's folder, no link, at the place that is said."""
    said = {one.key: one.value for one in tensor.external_data}
    name, place = printable(tensor.name), said.get("location", "")
    path = folder / place
    if not place or Path(place).is_absolute() or ".." in Path(place).parts or "\\" in place:
        raise Refused(f"the constant '{name}' is said to lie in '{printable(place)}', outside the model's folder")
    if path.resolve() != folder.resolve() / place or not path.is_file():
        raise Refused(f"the constant '{name}' lies in '{printable(place)}' beside the model, where no such file is")
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).newbyteorder("<")
    start, bytes_ = int(said.get("offset", 0)), math.prod(tensor.dims) * dtype.itemsize
    with opened(path) as file:
        if not 0 <= start <= file.seek(0, 2) - bytes_ or int(said.get("length", bytes_)) != bytes_:
            raise Refused(f"the constant '{name}' does not lie whole in '{printable(place)}'")
        file.seek(start)
        return np.frombuffer(file.read(bytes_), dtype).reshape(list(tensor.dims)).astype(dtype.newbyteorder("="))
