"""A trained network as an ONNX model: the parts that lie on several devices are one layer each, crossings are gone.

A layer that mixes channels becomes one with groups where each device reads its own part; one that treats each channel
alone does not know of devices; any other is written once for each part, between a Split and a Concat.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, checker, helper

from netspec._version import __version__
from netspec.contract.layer import Layer, Tensors
from netspec.contract.tensor import Tensor
from netspec.errors import LayerError, NetspecError
from netspec.exchange.onnx_nodes import Nodes
from netspec.planning.build import ANSWERS
from netspec.planning.connect import groups_of
from netspec.planning.network import Network, is_image
from netspec.planning.plan import make_layer
from netspec.planning.shards import Shard, Value
from netspec.spec.types import Spec

OPSET = 17
"""Of 2022: what every runtime in use reads."""
LARGEST = 2**31 - 1
"""Bytes that a protobuf message can hold."""

Arrays = Mapping[str, np.ndarray[Any, Any]]


def model_of(spec: Spec, arrays: Arrays, about: Mapping[str, Any]) -> ModelProto:
    """The model for inference; ``arrays`` are a checkpoint's tensors, ``about`` becomes metadata, as JSON by key.

    Raises NetspecError where a layer has no ONNX form, and where the parameters are more than a file can hold.
    """
    size = sum(array.nbytes for array in arrays.values())
    if size > LARGEST - 2**20:
        raise NetspecError(f"the parameters are {size:,} bytes; an ONNX file holds at most {LARGEST:,}")
    return _Writer(spec, arrays).model(about)


class _Writer:
    """One network on its way to a graph: the ONNX name of each value so far."""

    def __init__(self, spec: Spec, arrays: Arrays) -> None:
        self.spec, self.arrays = spec, arrays
        self.network = Network(spec, "predict", 1)
        self.nodes = Nodes()
        self.names: dict[tuple[str, str], str] = {}
        self.inputs: list[ValueInfoProto] = []

    def model(self, about: Mapping[str, Any]) -> ModelProto:
        for value in [self.network.values[name][""] for name in self.spec.inputs]:
            if value.parts:
                self._input(value)
        for shards in self.network.shards:
            self._layer(shards)
        graph = self._graph(*self._answer())
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=8,
            producer_name="netspec",
            producer_version=__version__,
        )
        helper.set_model_props(model, {key: json.dumps(value, ensure_ascii=False) for key, value in about.items()})
        checker.check_model(model, full_check=True)
        return model

    # Inputs and outputs ---------------------------------------------------------------------------------------------

    def _input(self, value: Value) -> None:
        tensor, name = value.parts[0].tensor, str(value.key)
        image = is_image(tensor)
        kind = TensorProto.UINT8 if image else helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
        shape: list[str | int | None] = ["N", *tensor.shape[1:]]
        self.nodes.layer = ""
        self.inputs.append(helper.make_tensor_value_info(self.nodes.name(name), kind, shape))
        self.nodes.layer = name
        self.names[name, ""] = self._prepared(name, tensor) if image else self.nodes.channels_first(name, tensor)

    def _prepared(self, name: str, tensor: Tensor) -> str:
        """(image - mean) * scale, see netspec.ops.prepare."""
        nodes = self.nodes
        mean = nodes.constant(self.arrays[f"{name}.mean"], "mean")
        scale = nodes.constant(np.float32(self.spec.data.scale), "scale")
        shifted = nodes.add("Sub", nodes.add("Cast", name, to=TensorProto.FLOAT), mean)
        return nodes.channels_first(nodes.add("Mul", shifted, scale), tensor)

    def _answer(self) -> tuple[str, Tensor]:
        """What ``predict`` gives: the answer of the last cost layer, or what the last layer computes."""
        found = [(one[0], name) for one in self.network.shards for name in ANSWERS if _is_answer(one[0], name)]
        last = self.network.shards[-1][0]
        shard, output = found[-1] if found else (last, next(iter(last.outputs)))
        return self.names[shard.spec.name, output], _whole(self.network.values[shard.spec.name][output])

    def _graph(self, answer: str, tensor: Tensor) -> Any:
        self.nodes.layer = ""
        output = self.nodes.name("output")
        last = self.nodes.channels_last(answer, tensor)
        self.nodes.nodes.append(helper.make_node("Identity", [last], [output], name=output))
        nodes, used = _reached(self.nodes.nodes, output)
        info = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", *tensor.shape[1:]])
        constants = [one for one in self.nodes.constants if one.name in used]
        return helper.make_graph(nodes, self.spec.name, self.inputs, [info], constants)

    # Layers ---------------------------------------------------------------------------------------------------------

    def _layer(self, shards: Sequence[Shard]) -> None:
        first = shards[0]
        self.nodes.layer = first.spec.name
        alike = first.spec.split == "none" or len(shards) == 1
        cls = type(first.layer)
        if alike:
            outputs = self._written(first, first.layer, first.t, self._read(first), None)
        elif cls.mixes_channels or cls.channelwise:
            layer, t, values = self._merged(first)
            outputs = self._written(first, layer, t, values, None)
        else:
            outputs = self._by_part(shards)
        for name, value in outputs.items():
            self.names[first.spec.name, name] = value

    def _written(
        self, shard: Shard, layer: Layer, t: Tensors, values: Sequence[str], cut: tuple[int, int] | None
    ) -> dict[str, str]:
        """The outputs of one layer, or of one part of it."""
        self.nodes.params = {name: self._parameter(shard, name, cut) for name in _stored(shard)}
        try:
            made = layer.onnx(self.nodes, t, *values)
        except LayerError as error:
            raise NetspecError(f"{shard.spec.name}: {error.message}") from None
        return {"y": made} if isinstance(made, str) else dict(made)

    def _by_part(self, shards: Sequence[Shard]) -> dict[str, str]:
        """A layer that sees its own channels only, once for each device."""
        values = [self._cut(shards, place) for place in range(len(shards[0].gathers))]
        parts = [
            self._written(shard, shard.layer, shard.t, [cut[i] for cut in values], (i, len(shards)))
            for i, shard in enumerate(shards)
        ]
        tensors = {name: shards[0].t[name] for name in parts[0]}
        return {name: self.nodes.joined([part[name] for part in parts], tensors[name]) for name in tensors}

    def _cut(self, shards: Sequence[Shard], place: int) -> tuple[str, ...]:
        """What each device reads of an input: its part of it, or all."""
        connection = self._connections(shards[0])[place]
        name = list(shards[0].gathers)[place]
        value = self.network.values[connection.source][connection.output or self._first(connection.source)]
        source = self._value(connection)
        if value.ways == 1 or connection.connect == "all":
            return (source,) * len(shards)
        return self.nodes.pieces(source, _whole(value), [shard.gathers[name].tensor.shape[-1] for shard in shards])

    def _merged(self, shard: Shard) -> tuple[Layer, Tensors, list[str]]:
        """The layer as it is on one device, and what it reads there."""
        spec, connections = shard.spec, self._connections(shard)
        attrs = dict(spec.attrs)
        groups = 1
        if shard.layer.mixes_channels:
            groups, _ = groups_of(spec, shard.ways)
            attrs["groups"] = groups
        values = [self._value(one) for one in connections]
        tensors = [_whole(self._of(one)) for one in connections]
        if len(shard.gathers) == 1 and len(connections) > 1 and not shard.layer.variadic:
            values, tensors = self._interleaved(values, tensors, groups)
        layer, t = make_layer(spec.type, attrs, "predict", tensors)
        return layer, t, values

    def _read(self, shard: Shard) -> list[str]:
        """What a layer on one device reads."""
        connections = self._connections(shard)
        values = [self._value(one) for one in connections]
        if len(shard.gathers) == 1 and len(connections) > 1 and not shard.layer.variadic:
            tensors = [_whole(self._of(one)) for one in connections]
            return self._interleaved(values, tensors, int(shard.spec.attrs.get("groups") or 1))[0]
        return values

    def _interleaved(self, values: list[str], tensors: list[Tensor], groups: int) -> tuple[list[str], list[Tensor]]:
        """Several inputs as one: group g takes the g-th share of each."""
        widths = [tensor.shape[-1] for tensor in tensors]
        cut = [
            self.nodes.pieces(value, tensor, [width // groups] * groups)
            for value, tensor, width in zip(values, tensors, widths, strict=True)
        ]
        whole = Tensor((*tensors[0].shape[:-1], sum(widths)), tensors[0].dtype)
        return [self.nodes.joined([pieces[g] for g in range(groups) for pieces in cut], whole)], [whole]

    # Looking things up ----------------------------------------------------------------------------------------------

    def _connections(self, shard: Shard) -> list[Any]:
        """The connections that are there in prediction."""
        absent = set(shard.layer.optional) if not shard.layer.variadic else set()
        names = shard.layer.input_names(len(shard.spec.inputs))
        if len(names) != len(shard.spec.inputs):
            return list(shard.spec.inputs)
        return [one for name, one in zip(names, shard.spec.inputs, strict=True) if name not in absent]

    def _first(self, source: str) -> str:
        return next(iter(self.network.values[source]))

    def _of(self, connection: Any) -> Value:
        return self.network.values[connection.source][connection.output or self._first(connection.source)]

    def _value(self, connection: Any) -> str:
        return self.names[connection.source, connection.output or self._first(connection.source)]

    def _parameter(self, shard: Shard, name: str, cut: tuple[int, int] | None) -> np.ndarray[Any, Any]:
        """The array that evaluation uses: the averages where the spec says so; of a part of a layer, its channels."""
        owner = shard.spec.share or shard.spec.name
        found = self.arrays.get(f"{owner}.{name}.average") if _averaged(self.spec) else None
        array = found if found is not None else self.arrays[f"{owner}.{name}"]
        axis = _stored(shard)[name]
        if cut is None or axis is None:
            return array
        return np.split(array, cut[1], axis)[cut[0]]


def _is_answer(shard: Shard, name: str) -> bool:
    return bool(shard.layer.reports) and name in shard.outputs


def _stored(shard: Shard) -> dict[str, int | None]:
    """Parameters and state by name, and the axis along which each is cut over devices."""
    params, state = shard.layer.params(*shard.inputs), shard.layer.state(*shard.inputs)
    return {name: one.axis for name, one in params.items()} | {name: one.axis for name, one in state.items()}


def _averaged(spec: Spec) -> bool:
    return spec.train.ema is not None and spec.train.ema.evaluate


def _whole(value: Value) -> Tensor:
    """The tensor over all devices."""
    first = value.parts[0].tensor
    if value.ways == 1:
        return first
    return Tensor((*first.shape[:-1], value.parts[-1].stop), first.dtype, first.differentiable)


def _reached(nodes: Sequence[Any], output: str) -> tuple[list[Any], set[str]]:
    """The nodes that lead to an output, in order, and the names that these read."""
    used, kept = {output}, []
    for node in reversed(nodes):
        if used & set(node.output):
            used |= set(node.input)
            kept.append(node)
    return kept[::-1], used
