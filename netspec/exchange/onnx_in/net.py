"""The network that an ONNX graph becomes, while it is made: layers, arrays, and how images are prepared."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from netspec.contract.layer import Tensors
from netspec.contract.tensor import Tensor
from netspec.errors import LayerError
from netspec.exchange.onnx_in.graph_file import Array, Graph, Node, Refused
from netspec.exchange.onnx_in.views import Part, Step, Value, laid_out, value_of
from netspec.exchange.spec_text import clean, unique
from netspec.planning.network import is_image
from netspec.planning.plan import make_layer
from netspec.registry import layer_types

_LINEAR = ("conv", "conv_transpose", "dense", "local", "scale", "layer_norm", "group_norm")
"""Layers that end in a product with their weights, whose last axis are the channels, and a sum with their biases."""


class Net:
    """Layers as maps of their keys, in order; arrays by name, and the constants that they are from."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.layers: list[dict[str, Any]] = []
        self.arrays: dict[str, Array] = {}
        self.taken: dict[str, str] = {}
        self.notes: list[str] = []
        self.node: Node | None = None
        self.inputs: dict[str, Tensor] = {}
        self.prepared: dict[str, tuple[float, Array]] = {}
        """Of each input of images the scale and the mean: it is (bytes - mean) * scale."""
        self.straight: dict[str, str] = {}
        """What is one layer's or input's output as it is and is read once, with that layer or input."""
        self._names: set[str] = set()
        self._taken_apart: dict[tuple[Any, ...], Value] = {}

    # Inputs ---------------------------------------------------------------------------------------------------------

    def add_input(self, name: str, tensor: Tensor) -> str:
        """Declare an input of the network; gives its name here."""
        name = self.unique(clean(name) or "input")
        self.inputs[name] = tensor
        if is_image(tensor):
            self.prepared[name] = (1.0, np.zeros(tensor.shape[1:]))
        return name

    # Layers ---------------------------------------------------------------------------------------------------------

    def add(
        self,
        type: str,
        attrs: Mapping[str, Any],
        *values: Value,
        arrays: Mapping[str, Array] | None = None,
        taken: Mapping[str, str] | None = None,
        keeps: bool = False,
        beside: Sequence[str] = (),
    ) -> Value:
        """A layer; ``keeps``: elements stay where they are, so the output lies as the first input does.

        ``beside`` names inputs that prediction goes without. Raises Refused where the layer does not take the values.
        """
        values = tuple(self.settled(value) for value in values)
        part = values[0].part if len(values) == 1 else None
        if part is None:
            values = tuple(self.whole(value) for value in values)
        t = tensors_of(type, attrs, [*(value.tensor for value in values), *(None for _ in beside)])
        step = Step(type, attrs, arrays or {}, taken or {})
        if part is not None:
            source, part = "", replace(part, steps=(*part.steps, step))
        else:
            source = self._written(step, [*(value.source for value in values), *beside])
        tensor = t[t.output_names[0]]
        if keeps:
            return replace(values[0], source=source, tensor=tensor, part=part)
        return replace(value_of(source, tensor), part=part)

    def _written(self, step: Step, inputs: Sequence[str]) -> str:
        name = self.unique(self._word(step.type))
        self.layers.append({"name": name, "type": step.type, "inputs": list(inputs), **step.attrs})
        for key, array in step.arrays.items():
            self.arrays[f"{name}.{key}"] = array
        for key, constant in step.taken.items():
            self.taken[f"{name}.{key}"] = constant
        return name

    def whole(self, value: Value) -> Value:
        """The value as a layer's output: of some channels of an image, a slice with the layers behind it."""
        part = value.part
        if part is None:
            return value
        count = part.whole.tensor.shape[-1] // part.count
        key: tuple[Any, ...] = (part.whole.source, part.index, part.count)
        if key not in self._taken_apart:
            attrs = {"first": part.index * count, "count": count} if part.index else {"count": count}
            self._taken_apart[key] = self.add("slice", attrs, part.whole)
        made = self._taken_apart[key]
        for step in part.steps:
            key = (*key, step)
            if key not in self._taken_apart:
                self._taken_apart[key] = self.add(step.type, step.attrs, made, arrays=step.arrays, taken=step.taken)
            made = self._taken_apart[key]
        return replace(value, source=made.source, part=None)

    def joined(self, parts: Sequence[Part]) -> Value | None:
        """All parts of an image, that had the same layers one by one, as one image with layers of groups.

        None where they are not all, in order, or had different layers.
        """
        first = parts[0]
        alike = {(part.whole.source, part.count, len(part.steps)) for part in parts}
        if len(alike) > 1 or [part.index for part in parts] != list(range(first.count)):
            return None
        together = [*zip(*(part.steps for part in parts), strict=True)]
        if not all(map(_are_alike, together)):
            return None
        value = first.whole
        for steps in together:
            value = self._grouped(value, steps, first.count)
        return value

    def _grouped(self, value: Value, steps: Sequence[Step], count: int) -> Value:
        step = steps[0]
        cls, attrs = layer_types()[step.type], dict(step.attrs)
        if cls.mixes_channels:
            attrs = {key: value * count if key in cls.divided else value for key, value in attrs.items()}
            attrs["groups"] = count * int(step.attrs.get("groups") or 1)
        arrays = {key: np.concatenate([one.arrays[key] for one in steps], axis=-1) for key in step.arrays}
        taken = {key: ", ".join(one.taken[key] for one in steps) for key in step.taken}
        return self.add(step.type, attrs, value, arrays=arrays, taken=taken)

    def settled(self, value: Value) -> Value:
        """The value with nothing outstanding: zeros round it, and factors of its channels, are layers."""
        value = self.padded(value)
        if value.factor is None:
            return value
        return self.scaled(replace(value, factor=None), value.factor, np.zeros(1))

    def padded(self, value: Value) -> Value:
        """The value with no zeros outstanding that are to be put round it; they do not mind factors."""
        if value.pad is None:
            return value
        sides = zip(("top", "bottom", "left", "right"), value.pad, strict=True)
        made = self.add("pad", {key: count for key, count in sides if count}, replace(value, pad=None, factor=None))
        return replace(made, factor=value.factor)

    def scaled(self, value: Value, factor: Array, shift: Array) -> Value:
        """Each channel times a number, plus another."""
        numbers = {"weight": factor, "bias": shift} if np.any(shift) else {"weight": factor}
        arrays = {key: np.array(np.broadcast_to(one, value.example[-1:])) for key, one in numbers.items()}
        return self.add("scale", {} if "bias" in arrays else {"bias": False}, value, arrays=arrays, keeps=True)

    def affine(self, value: Value, factor: Array, shift: Array, read: str) -> Value:
        """``factor * value + shift``, of constants that fit: a part of how images are prepared, or of the layer before.

        ``read`` is the value's name in the graph.
        """
        if value.part is None and (factor == 1).all() and (shift == 0).all():
            return value
        a, b = by_channel(laid_out(value, factor)), laid_out(value, shift)
        source = self.straight.get(read) if value.part is None else None
        if source == value.source and self._each_place(source, a, b):
            return value
        if source in self.prepared and source == value.source:
            return self._prepared(value, a, b)
        if (kept := self._kept(a, b)) is not None:
            return self.add("dropout", {"keep": kept, "mode": "paper"}, value, keeps=True)
        if source == value.source and self._layer(source).get("type") in _LINEAR and value.factor is None:
            self._taken_in(value, a, by_channel(b))
            return value
        return self.scaled(value, a, by_channel(b))

    def normalised(self, value: Value, mean: Array, std: Array) -> Value:
        """An input's images less ``mean``, by ``std``, of each channel or all."""
        shift = np.broadcast_to(-mean / std, value.example)
        return self._prepared(value, np.broadcast_to(1 / std, value.tensor.shape[-1:]), shift)

    def _kept(self, a: Array, b: Array) -> float | None:
        """A dropout of netspec's own exports, which multiplies by what it keeps."""
        alike = self.graph.producer == "netspec" and (a == a.flat[0]).all() and not b.any()
        return float(np.float32(a.flat[0]).astype(str)) if alike and 0 < a.flat[0] < 1 else None

    def _prepared(self, value: Value, a: Array, b: Array) -> Value:
        """The preparation of an input's images with that behind it; channels of different scales leave a factor."""
        scale, mean = self.prepared[value.source]
        total = np.broadcast_to(a * scale * (1.0 if value.factor is None else value.factor), value.tensor.shape[-1:])
        if not total.all() or not np.isfinite(total).all():
            raise Refused("it multiplies its input by zero, or by what is no number")
        first = float(total[0])
        self.prepared[value.source] = (first, mean - b / total)
        factor = total / first
        return replace(value, factor=None if (factor == 1).all() else factor)

    def _each_place(self, source: str, a: Array, b: Array) -> bool:
        """Whether a locally connected layer without a bias has taken this one, which differs from place to place."""
        layer = self._layer(source)
        if layer.get("type") != "local" or "bias" not in layer or (a != 1).any():
            return False
        self.arrays[f"{source}.bias"] = b
        del layer["bias"]
        return True

    def _layer(self, source: str) -> dict[str, Any]:
        """The layer of that name; of an input, nothing."""
        return next((layer for layer in self.layers if layer["name"] == source), {})

    def _taken_in(self, value: Value, a: Array, b: Array) -> None:
        """Into a layer's weights and biases."""
        weight, bias = f"{value.source}.weight", f"{value.source}.bias"
        self.arrays[weight] = self.arrays[weight] * a
        if bias in self.arrays:
            self.arrays[bias] = self.arrays[bias] * a + b
        elif b.any():
            self.arrays[bias] = np.array(np.broadcast_to(b, value.tensor.shape[-1:]))
            del self._layer(value.source)["bias"]

    # Names ----------------------------------------------------------------------------------------------------------

    def _word(self, type: str) -> str:
        """A name for a layer: its parameters' in the file, or the node's, or the type with a number."""
        node = self.node
        if node is not None and len(node.inputs) > 1 and node.inputs[1] in self.graph.constants:
            stem, _, last = node.inputs[1].rpartition(".")
            if stem and last in ("weight", "W", "w") and (word := clean(stem)):
                return word
        parts = [part for part in re.split(r"[/.]", node.name) if part] if node is not None else []
        if node is not None and len(parts) > 1 and node.op in parts[1:]:
            parts = parts[: parts.index(node.op, 1)]
        word = clean(parts[-1]) if parts else ""
        return word if word and not (node is not None and re.fullmatch(rf"{node.op}[-_]?\d*", word)) else f"{type}1"

    def unique(self, word: str) -> str:
        """The word, or with a number that is free."""
        name = unique(word, self._names)
        self._names.add(name)
        return name


def tensors_of(type: str, attrs: Mapping[str, Any], inputs: Sequence[Tensor | None]) -> Tensors:
    """A layer's tensors for these inputs. Raises Refused where it does not take them."""
    try:
        return make_layer(type, attrs, "predict", inputs)[1]
    except LayerError as error:
        raise Refused(error.message) from None


def _are_alike(steps: Sequence[Step]) -> bool:
    """Whether layers of parts of an image are one layer in groups."""
    kinds = [(one.type, one.attrs, one.arrays.keys()) for one in steps]
    cls = layer_types()[steps[0].type]
    return all(kind == kinds[0] for kind in kinds) and (cls.mixes_channels or cls.channelwise)


def by_channel(array: Array) -> Array:
    """What is the same at all places of a channel, (C). Raises Refused."""
    rows: Array = array.reshape(-1, array.shape[-1])
    if (rows != rows[:1]).any():
        raise Refused("its constant differs between the places of a channel, not between channels alone")
    first: Array = rows[0]
    return first
