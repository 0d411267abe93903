"""A trained network as an ONNX model: the parts that lie on several devices are one layer each, crossings are gone."""

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
from netspec.exchange.merging import Arrays, Cut, Merger, evaluated, part_of, stored, whole
from netspec.exchange.onnx_nodes import Nodes
from netspec.planning.build import answer_of
from netspec.planning.network import is_image
from netspec.planning.shards import Shard, Value
from netspec.spec.types import Spec
from netspec.units import size

OPSET = 17
"""Of 2022: what every runtime in use reads."""
MOST = 2**31 - 2**20
"""Bytes of parameters: a protobuf message holds 2 GiB, the graph and the metadata among them."""


def model_of(spec: Spec, arrays: Arrays, about: Mapping[str, Any]) -> ModelProto:
    """The model for inference; ``arrays`` are a checkpoint's tensors, ``about`` becomes metadata, as JSON by key.

    Raises NetspecError where a layer has no ONNX form, and where the parameters are more than a file can hold.
    """
    return _Writer(spec, arrays).model(about)


class _Writer(Merger):
    """One network on its way to a graph."""

    def __init__(self, spec: Spec, arrays: Arrays) -> None:
        self.arrays, self.nodes = arrays, Nodes()
        super().__init__(spec, self.nodes)
        self.inputs: list[ValueInfoProto] = []

    def model(self, about: Mapping[str, Any]) -> ModelProto:
        for value in [self.network.values[name][""] for name in self.spec.inputs]:
            if value.parts:
                self._input(value)
        self.layers()
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
        tensor = whole(self.network.values[answer.of.owner or ""][answer.of.tensor])
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

    def written(
        self, shard: Shard, layer: Layer, t: Tensors, values: Sequence[str], cut: Cut | None = None
    ) -> Mapping[str, str]:
        """The nodes of a layer."""
        owner = shard.spec.share or shard.spec.name
        self.nodes.params = {
            name: part_of(evaluated(self.spec, self.arrays, f"{owner}.{name}"), axis, cut)
            for name, axis in stored(shard).items()
        }
        try:
            made = layer.onnx(self.nodes, t, *values)
        except LayerError as error:
            raise NetspecError(f"{shard.spec.name}: {error.message}") from None
        return {"y": made} if isinstance(made, str) else dict(made)


def _reached(nodes: Sequence[Any], output: str) -> tuple[list[Any], set[str]]:
    """The nodes that lead to an output, in order, and the names that these read."""
    used, kept = {output}, []
    for node in reversed(nodes):
        if used & set(node.output):
            used |= set(node.input)
            kept.append(node)
    return kept[::-1], used
