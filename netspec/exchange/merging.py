"""A network over several devices as one without devices, layer by layer: what writers of all formats have in common.

A layer that mixes channels becomes one with groups where each device reads its own part; one that treats each channel
alone does not know of devices; any other is written once for each part, between a split and a join.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from netspec.contract.layer import Layer, Tensors
from netspec.contract.tensor import Tensor
from netspec.planning.connect import find_value, groups_of
from netspec.planning.identities import TensorKey
from netspec.planning.network import Network
from netspec.planning.plan import make_layer
from netspec.planning.shards import Shard, Value
from netspec.spec.types import Connection, Spec

Arrays = Mapping[str, np.ndarray[Any, Any]]
Cut = tuple[int, int]
"""Which part of a layer it is, of how many."""


class Form(ABC):
    """What layers are written into; values are texts. Images are channels first: (N, C, H, W), and (N, F, C, H, W)."""

    layer = ""
    """The layer that is being written, from which names are made."""

    @abstractmethod
    def pieces(self, value: str, tensor: Tensor, widths: Sequence[int]) -> tuple[str, ...]:
        """A value cut along its channels."""

    @abstractmethod
    def joined(self, values: Sequence[str], tensor: Tensor) -> str:
        """Values joined along their channels; ``tensor`` is one of them, or the result."""

    def interleaved(self, values: Sequence[str], tensors: Sequence[Tensor], groups: int) -> tuple[str, Tensor]:
        """Several values as one, and its tensor: group g takes the g-th share of the channels of each."""
        widths = [tensor.shape[-1] for tensor in tensors]
        whole = Tensor((*tensors[0].shape[:-1], sum(widths)), tensors[0].dtype)
        cut = [
            self.pieces(value, tensor, [width // groups] * groups)
            for value, tensor, width in zip(values, tensors, widths, strict=True)
        ]
        return self.joined([pieces[g] for g in range(groups) for pieces in cut], whole), whole


class Merger(ABC):
    """One network on its way into a form: ``names`` has the text of each value so far."""

    def __init__(self, spec: Spec, form: Form) -> None:
        self.spec, self.form = spec, form
        self.network = Network(spec, "predict", 1)
        self.names: dict[TensorKey, str] = {}

    @abstractmethod
    def written(
        self, shard: Shard, layer: Layer, t: Tensors, values: Sequence[str], cut: Cut | None = None
    ) -> Mapping[str, str]:
        """The outputs of a layer by name; ``cut`` where it is written by parts."""

    def layers(self) -> None:
        """Write all layers, in order."""
        for shards in self.network.shards:
            outputs = self._layer(shards)
            for name, value in outputs.items():
                self.names[self.network.values[shards[0].spec.name][name].key] = value

    def _layer(self, shards: Sequence[Shard]) -> Mapping[str, str]:
        first = shards[0]
        self.form.layer = first.spec.name
        if len(shards) == 1 or first.spec.split == "none":
            values, _ = self._read(first, int(first.spec.attrs.get("groups") or 1))
            return self.written(first, first.layer, first.t, values)
        if first.layer.mixes_channels or first.layer.channelwise:
            return self._merged(first)
        return self._by_part(shards)

    def _merged(self, shard: Shard) -> Mapping[str, str]:
        """A layer on several devices as the same on one, with groups where each reads its own part."""
        groups, _ = groups_of(shard.spec, shard.ways) if shard.layer.mixes_channels else (1, 1)
        values, tensors = self._read(shard, groups)
        attrs = {**shard.spec.attrs, **({"groups": groups} if shard.layer.mixes_channels else {})}
        return self.written(shard, *make_layer(shard.spec.type, attrs, "predict", tensors), values)

    def _by_part(self, shards: Sequence[Shard]) -> Mapping[str, str]:
        """A layer that sees its own channels only, once for each device."""
        values = [self._cut(shards, *one) for one in self.network.present(shards[0].spec)]
        parts = [
            self.written(shard, shard.layer, shard.t, [cut[i] for cut in values], (i, len(shards)))
            for i, shard in enumerate(shards)
        ]
        return {name: self.form.joined([part[name] for part in parts], shards[0].t[name]) for name in parts[0]}

    def _cut(self, shards: Sequence[Shard], name: str | None, connection: Connection) -> tuple[str, ...]:
        """What each device reads of an input: its part of it, or all."""
        value = find_value(shards[0].spec, connection, self.network.values)
        source = self.names[value.key]
        if value.ways == 1 or connection.connect == "all":
            return (source,) * len(shards)
        widths = [shard.gathers[name or ""].tensor.shape[-1] for shard in shards]
        return self.form.pieces(source, whole(value), widths)

    def _read(self, shard: Shard, groups: int) -> tuple[list[str], list[Tensor]]:
        """What the whole layer reads, by input; what is joined into an only one is joined."""
        present = self.network.present(shard.spec)
        found = [find_value(shard.spec, connection, self.network.values) for _, connection in present]
        values, tensors = [self.names[value.key] for value in found], list(map(whole, found))
        if present and present[0][0] is None:
            joined, tensor = self.form.interleaved(values, tensors, groups)
            return [joined], [tensor]
        return values, tensors


def channel_axis(tensor: Tensor) -> int:
    """Where a form has the channels of such a tensor."""
    rank = len(tensor.shape)
    return rank - 3 if rank in (4, 5) else rank - 1


def stored(shard: Shard) -> dict[str, int | None]:
    """Parameters and state by name, and the axis along which each is cut over devices."""
    params, state = shard.layer.params(*shard.inputs), shard.layer.state(*shard.inputs)
    return {name: one.axis for name, one in params.items()} | {name: one.axis for name, one in state.items()}


def evaluated(spec: Spec, arrays: Arrays, name: str) -> np.ndarray[Any, Any]:
    """The array of that name that evaluation uses: its average where the spec says so."""
    ema, average = spec.train.ema, f"{name}.average"
    return arrays[average if ema is not None and ema.evaluate and average in arrays else name]


def part_of(array: np.ndarray[Any, Any], axis: int | None, cut: Cut | None) -> np.ndarray[Any, Any]:
    """A part of a layer's array; all of it where the layer is not cut, or the array is not."""
    return array if cut is None or axis is None else np.split(array, cut[1], axis)[cut[0]]


def whole(value: Value) -> Tensor:
    """The tensor over all devices."""
    first = value.parts[0].tensor
    if value.ways == 1:
        return first
    return Tensor((*first.shape[:-1], value.parts[-1].stop), first.dtype, first.differentiable)
