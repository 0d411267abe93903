"""A trained network as an ONNX model: the parts that lie on several devices are one layer each, crossings are gone.

A layer that mixes channels becomes one with groups where each device reads its own part; one that treats each channel
alone does not know of devices; any other is written once for each part, between a Split and a Concat.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, checker, helper

from netspec._version import __version__
from netspec.contract.layer import Layer, Tensors
from netspec.contract.tensor import Tensor
from netspec.errors import LayerError, NetspecError
from netspec.exchange.onnx_nodes import Nodes
from netspec.planning.build import answer_of
from netspec.planning.connect import find_value, groups_of
from netspec.planning.identities import TensorKey
from netspec.planning.network import Network, is_image
from netspec.planning.plan import make_layer
from netspec.planning.shards import Shard, Value
from netspec.spec.types import Connection, Spec
from netspec.units import size

OPSET = 17
"""Of 2022: what every runtime in use reads."""
MOST = 2**31 - 2**20
"""Bytes of parameters: a protobuf message holds 2 GiB, the graph and the metadata among them."""

Arrays = Mapping[str, np.ndarray[Any, Any]]


def model_of(spec: Spec, arrays: Arrays, about: Mapping[str, Any]) -> ModelProto:
    """The model for inference; ``arrays`` are a checkpoint's tensors, ``about`` becomes metadata, as JSON by key.

    Raises NetspecError where a layer has no ONNX form, and where the parameters are more than a file can hold.
    """
    return _Writer(spec, arrays).model(about)


class _Writer:
    """One network on its way to a graph: the ONNX name of each value so far."""

    def __init__(self, spec: Spec, arrays: Arrays) -> None:
        self.spec, self.arrays = spec, arrays
        self.network = Network(spec, "predict", 1)
        self.nodes = Nodes()
        self.names: dict[TensorKey, str] = {}
        self.inputs: list[ValueInfoProto] = []

    def model(self, about: Mapping[str, Any]) -> ModelProto:
        for value in [self.network.values[name][""] for name in self.spec.inputs]:
            if value.parts:
                self._input(value)
        for shards in self.network.shards:
            self._layer(shards)
        graph = self._graph()
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
        self.names[value.key] = self._prepared(name, tensor) if image else self.nodes.channels_first(name, tensor)

    def _prepared(self, name: str, tensor: Tensor) -> str:
        """(image - mean) * scale, see netspec.ops.prepare."""
        nodes = self.nodes
        mean = nodes.constant(self.arrays[f"{name}.mean"], "mean")
        scale = nodes.constant(np.float32(self.spec.data.scale), "scale")
        shifted = nodes.add("Sub", nodes.add("Cast", name, to=TensorProto.FLOAT), mean)
        return nodes.channels_first(nodes.add("Mul", shifted, scale), tensor)

    def _graph(self) -> GraphProto:
        """What ``predict`` gives as the graph's output, and the nodes that lead to it."""
        answer = answer_of(self.network)
        assert answer is not None
        tensor = _whole(self.network.values[answer.of.owner or ""][answer.of.tensor])
        self.nodes.layer = ""
        output = self.nodes.name("output")
        last = self.nodes.channels_last(self.names[answer.of], tensor)
        self.nodes.nodes.append(helper.make_node("Identity", [last], [output], name=output))
        nodes, used = _reached(self.nodes.nodes, output)
        constants = [one for one in self.nodes.constants if one.name in used]
        if (total := sum(len(one.raw_data) for one in constants)) > MOST:
            raise NetspecError(f"the parameters take {size(total)}, and an ONNX file holds less than {size(2**31)}")
        info = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", *tensor.shape[1:]])
        return helper.make_graph(nodes, self.spec.name, self.inputs, [info], constants)

    # Layers ---------------------------------------------------------------------------------------------------------

    def _layer(self, shards: Sequence[Shard]) -> None:
        first = shards[0]
        self.nodes.layer = first.spec.name
        if len(shards) == 1 or first.spec.split == "none":
            values, _ = self._read(first, int(first.spec.attrs.get("groups") or 1))
            outputs = self._written(first, first.layer, first.t, values)
        elif first.layer.mixes_channels or first.layer.channelwise:
            outputs = self._merged(first)
        else:
            outputs = self._by_part(shards)
        for name, value in outputs.items():
            self.names[self.network.values[first.spec.name][name].key] = value

    def _written(
        self, shard: Shard, layer: Layer, t: Tensors, values: Sequence[str], cut: tuple[int, int] | None = None
    ) -> dict[str, str]:
        """The outputs of a layer; ``cut``: of which part of it, of how many."""
        self.nodes.params = {name: self._parameter(shard, name, axis, cut) for name, axis in _stored(shard).items()}
        try:
            made = layer.onnx(self.nodes, t, *values)
        except LayerError as error:
            raise NetspecError(f"{shard.spec.name}: {error.message}") from None
        return {"y": made} if isinstance(made, str) else dict(made)

    def _merged(self, shard: Shard) -> dict[str, str]:
        """A layer on several devices as the same on one, with groups where each reads its own part."""
        groups, _ = groups_of(shard.spec, shard.ways) if shard.layer.mixes_channels else (1, 1)
        values, tensors = self._read(shard, groups)
        attrs = {**shard.spec.attrs, **({"groups": groups} if shard.layer.mixes_channels else {})}
        return self._written(shard, *make_layer(shard.spec.type, attrs, "predict", tensors), values)

    def _by_part(self, shards: Sequence[Shard]) -> dict[str, str]:
        """A layer that sees its own channels only, once for each device."""
        values = [self._cut(shards, *one) for one in self.network.present(shards[0].spec)]
        parts = [
            self._written(shard, shard.layer, shard.t, [cut[i] for cut in values], (i, len(shards)))
            for i, shard in enumerate(shards)
        ]
        return {name: self.nodes.joined([part[name] for part in parts], shards[0].t[name]) for name in parts[0]}

    def _cut(self, shards: Sequence[Shard], name: str | None, connection: Connection) -> tuple[str, ...]:
        """What each device reads of an input: its part of it, or all."""
        value = find_value(shards[0].spec, connection, self.network.values)
        source = self.names[value.key]
        if value.ways == 1 or connection.connect == "all":
            return (source,) * len(shards)
        widths = [shard.gathers[name or ""].tensor.shape[-1] for shard in shards]
        return self.nodes.pieces(source, _whole(value), widths)

    def _read(self, shard: Shard, groups: int) -> tuple[list[str], list[Tensor]]:
        """What the whole layer reads, by input; what is joined into an only one is joined."""
        present = self.network.present(shard.spec)
        found = [find_value(shard.spec, connection, self.network.values) for _, connection in present]
        values, tensors = [self.names[value.key] for value in found], list(map(_whole, found))
        if present and present[0][0] is None:
            joined, tensor = self.nodes.interleaved(values, tensors, groups)
            return [joined], [tensor]
        return values, tensors

    def _parameter(
        self, shard: Shard, name: str, axis: int | None, cut: tuple[int, int] | None
    ) -> np.ndarray[Any, Any]:
        """The array that evaluation uses: the averages where the spec says so; of a part of a layer, its channels."""
        text = f"{shard.spec.share or shard.spec.name}.{name}"
        ema, average = self.spec.train.ema, f"{text}.average"
        array = self.arrays[average if ema is not None and ema.evaluate and average in self.arrays else text]
        return array if cut is None or axis is None else np.split(array, cut[1], axis)[cut[0]]


def _stored(shard: Shard) -> dict[str, int | None]:
    """Parameters and state by name, and the axis along which each is cut over devices."""
    params, state = shard.layer.params(*shard.inputs), shard.layer.state(*shard.inputs)
    return {name: one.axis for name, one in params.items()} | {name: one.axis for name, one in state.items()}


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
