"""One layer on one device, outside any network: what the contract suite and a plugin author's notebook run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from netspec.contract.kernel import Direction, Phase
from netspec.contract.layer import Layer, Tensors
from netspec.contract.keys import key_of
from netspec.contract.tensor import Tensor
from netspec.device.base import Device
from netspec.plan.model import Pass
from netspec.program.passes import lower, tensor_of
from netspec.registry import layer_types

Values = Mapping[str, "np.ndarray[Any, Any]"]


class SingleLayer:
    """A layer instance with the tensors of given inputs, run by name.

    ``inputs`` are tensors (None for an absent optional one); floating tensors are held in ``dtype``, in which the
    kernels also compute. ``keys`` stands for a shard's place in the whole layer.
    """

    def __init__(
        self,
        layer_type: str,
        attrs: Mapping[str, Any],
        inputs: Sequence[Tensor | None],
        device: Device,
        *,
        phase: Phase = "train",
        variant: str = "plain",
        dtype: str = "float32",
        keys: Mapping[str, int] | None = None,
    ) -> None:
        cls = layer_types()[layer_type]
        defaults = {name: s["default"] for name, s in cls.attrs_schema.items() if "default" in s}
        self.layer: Layer = cls({**defaults, **attrs}, phase)
        self.t: Tensors = self.layer.tensors(inputs)
        self.device, self.variant, self.dtype = device, variant, dtype
        channels = self.t.inputs[0].shape[-1]
        self.keys = {"key": key_of(0, layer_type), "channel_offset": 0, "channel_count": channels, **(keys or {})}

    def forward(self, values: Values, iteration: int = 0, valid: int | None = None) -> dict[str, np.ndarray[Any, Any]]:
        """Run forward on inputs, parameters and state; gives all it writes: outputs, saved, next state."""
        return self.run("forward", values, iteration, valid)

    def backward(self, values: Values, iteration: int = 0, valid: int | None = None) -> dict[str, np.ndarray[Any, Any]]:
        """Run backward on whatever its kernels name; gives the gradients it writes."""
        return self.run("backward", values, iteration, valid)

    def passes(self, direction: Direction) -> tuple[Pass, ...]:
        """The lowered passes of a direction."""
        backend = self.device.kind
        return lower(self.layer, self.t, backend, direction, self.variant, self.keys, self.dtype)

    def written(self, direction: Direction) -> tuple[str, ...]:
        """Names of tensors that a direction writes, workspace left out."""
        space = self.layer.workspace(self.t, self.variant, direction)
        names = [name for one in self.passes(direction) for name in one.writes]
        return tuple(name for name in dict.fromkeys(names) if name not in space)

    def run(
        self, direction: Direction, values: Values, iteration: int = 0, valid: int | None = None
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Run one direction; written arrays start as NaN (or -1), so that an element left out shows."""
        written = self.written(direction)
        arrays = {name: self._filled(name) for name in written}
        for name, value in values.items():
            if name not in written:
                arrays[name] = self._given(np.asarray(value))
        rows = self.t.inputs[0].shape[0] if valid is None else valid
        arrays["counters"] = self._given(np.array([iteration, rows], np.int64))
        arrays.update(self._workspace(direction))
        self.device.bind(self.passes(direction), arrays)()
        return {name: self.device.download(arrays[name]) for name in written}

    def _dtype_of(self, dtype: str) -> str:
        return self.dtype if dtype == "float32" else dtype

    def _filled(self, name: str) -> Any:
        tensor = tensor_of(name, {k: v for k, v in vars(self.t).items() if isinstance(v, Tensor)})
        dtype = self._dtype_of(tensor.dtype)
        fill = np.nan if dtype.startswith("float") else (255 if dtype == "uint8" else -1)
        return self._given(np.full(tensor.shape, fill, dtype))

    def _given(self, value: np.ndarray[Any, Any]) -> Any:
        dtype = self.dtype if value.dtype.kind == "f" else str(value.dtype)
        array = self.device.empty(value.shape, dtype)
        self.device.upload(array, np.ascontiguousarray(value, dtype))
        return array

    def _workspace(self, direction: Direction) -> dict[str, Any]:
        arrays = {}
        for name, space in self.layer.workspace(self.t, self.variant, direction).items():
            members = (self.device.team_size,) if space.per == "member" else ()
            shape = (*members, *space.shape)
            dtype = self._dtype_of(space.dtype)
            fill = np.nan if dtype.startswith("float") else 7
            arrays[name] = self._given(np.full(shape, fill, dtype))
        return arrays
