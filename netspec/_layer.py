"""A layer alone: outputs and gradients for given arrays, with no network around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from netspec.check.single import SingleLayer, gradient_of, layer_error
from netspec.check.subject import cpu, gpu, input_tensor
from netspec.contract.kernel import PHASES, Backend, Direction, Phase
from netspec.contract.tensor import Tensor
from netspec.device.base import Device
from netspec.errors import NetspecError
from netspec.init import initial
from netspec.program.choice import candidates
from netspec.registry import layer_types, load_plugin, types_in
from netspec.spec.layer_attributes import given_attributes
from netspec.spec.types import TrainSpec
from netspec.spec.wording import meant

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

Array = np.ndarray[Any, Any]


class NoKernels(NetspecError):
    """A direction of a layer for which there is none on a backend, perhaps not yet."""


@dataclass(frozen=True, slots=True, eq=False)
class LayerResult:
    """What a layer gave for its inputs, arrays by name.

    ``inputs`` and ``outputs``; ``params`` and ``state``, with which they were computed, drawn by the layer's
    initialisers unless they were given; ``next_state``, what the state becomes in training; ``saved``, what forward
    left for backward.
    """

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    params: Mapping[str, Array]
    state: Mapping[str, Array]
    next_state: Mapping[str, Array]
    saved: Mapping[str, Array]
    _backward: Callable[[Mapping[str, ArrayLike]], dict[str, Array]] = field(repr=False)

    def __repr__(self) -> str:
        shapes = (f"{name}: {array.shape}" for name, array in self.outputs.items())
        return f"LayerResult({', '.join(shapes)})"

    def gradients(self, **outputs: ArrayLike) -> dict[str, Array]:
        """Gradients by the name of the input or parameter: of sum(output * given), ``gradients(y=dy)``.

        An output that is not given counts with ones; a cost layer takes none, and gives the gradient of its loss,
        divided by the number of rows. Raises NetspecError for another shape, and outside of phase train.
        """
        return self._backward(outputs)


class LoneLayer:
    """A layer type with its attributes, to be called on arrays; see ``netspec.layer``.

    ``layer(x)`` gives a LayerResult. Several inputs stand in the order of ``inputs``; those that are optional (a label)
    may be left out in phase predict. Parameters and states are given by name: ``layer(x, weight=w)``. All floating
    numbers are float32; what is random is as in a run's first iteration. Raises NetspecError where inputs do not fit.
    """

    def __init__(self, kind: str, attrs: Mapping[str, Any], phase: Phase, backend: Backend, seed: int) -> None:
        self.type, self.attrs, self.phase, self.backend, self._seed = kind, attrs, phase, backend, seed

    def __repr__(self) -> str:
        attrs = "".join(f", {name}: {value}" for name, value in self.attrs.items())
        return f"LoneLayer({self.type}{attrs})"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs; of a layer that takes any number, of two."""
        names: tuple[str, ...] = layer_types()[self.type].input_names(2)
        return names

    def __call__(self, *inputs: ArrayLike | None, **tensors: ArrayLike) -> LayerResult:
        """See the class."""
        device = cpu() if self.backend == "cpu" else gpu()
        arrays = self._arrays(inputs)
        plain = self._single(arrays, device, "plain")
        given = {**{name: array for name, array in arrays.items() if array is not None}, **self._stored(plain, tensors)}
        chosen = self._chosen(plain, arrays, "forward")
        with layer_error(self.type):
            done = chosen.forward(given)
        backward = partial(self._gradients, plain, arrays, {**given, **done})
        names = plain.t.names
        return LayerResult(
            inputs={name: given[name] for name in names("input")},
            outputs={name: done[name] for name in names("output")},
            params={name: given[name] for name in names("parameter")},
            state={name: given[name] for name in names("state")},
            next_state={name: done[f"next_{name}"] for name in names("state") if f"next_{name}" in done},
            saved={name: done[name] for name in names("saved") if name in done},
            _backward=backward,
        )

    def _arrays(self, inputs: tuple[ArrayLike | None, ...]) -> dict[str, Array | None]:
        """The inputs by name; None for one that is absent."""
        cls = layer_types()[self.type]
        names = cls.input_names(len(inputs))
        absent = (None,) * len([name for name in names[len(inputs) :] if name in cls.optional])
        given = (*inputs, *(absent if self.phase == "predict" else ()))
        if len(given) != len(names) or not given:
            raise NetspecError(f"{self.type}: it reads {', '.join(names) or 'inputs'}, got {len(inputs)} of them")
        pairs = zip(names, given, strict=True)
        arrays = {name: None if value is None else _array(self.type, name, value) for name, value in pairs}
        first = arrays[names[0]]
        for name in ("label", "other"):
            labels = arrays.get(name)
            if labels is not None and first is not None and first.ndim > 1:
                _check_labels(self.type, name, labels, first.shape[-1])
        return arrays

    def _single(self, arrays: Mapping[str, Array | None], device: Device, variant: str) -> SingleLayer:
        tensors = [None if array is None else input_tensor(name, array.shape) for name, array in arrays.items()]
        with layer_error(self.type):
            return SingleLayer(self.type, self.attrs, tensors, device, phase=self.phase, variant=variant)

    def _chosen(self, plain: SingleLayer, arrays: Mapping[str, Array | None], direction: Direction) -> SingleLayer:
        """The layer with the kernels that a run would take."""
        device = plain.device
        without = TrainSpec().without[device.kind]
        able = candidates(plain.layer, plain.t, device.kind, direction, without, device.capability)
        if not able:
            raise NoKernels(f"{self.type}: it has no {device.kind} kernels for its {direction} pass")
        return self._single(arrays, device, able[0])

    def _stored(self, single: SingleLayer, tensors: Mapping[str, ArrayLike]) -> dict[str, Array]:
        """Parameters and states: those given, and others as they begin."""
        values = dict(self._initial(single))
        for name, value in tensors.items():
            if name not in values:
                has = ", ".join(values) or "no parameters nor states"
                raise NetspecError(f"{self.type}: it has no '{name}' ({has})")
            values[name] = _fitting(self.type, name, value, single.t[name])
        return values

    def _initial(self, single: SingleLayer) -> Iterator[tuple[str, Array]]:
        rows: Any = [single.t[name] if name in single.t.roles else None for name in single.input_names]
        for name, one in single.layer.params(*rows).items():
            yield name, initial(one.init, one.shape, one.fan_in, one.fan_out, (self._seed, f"{self.type}.{name}"))
        for name, state in single.layer.state(*rows).items():
            yield name, np.full(state.shape, state.init, state.dtype)

    def _gradients(
        self,
        plain: SingleLayer,
        arrays: Mapping[str, Array | None],
        values: Mapping[str, Array],
        outputs: Mapping[str, ArrayLike],
    ) -> dict[str, Array]:
        if self.phase != "train":
            raise NetspecError(f"{self.type}: there are gradients in phase train, this is {self.phase}")
        single, t = self._chosen(plain, arrays, "backward"), plain.t
        known = [] if plain.layer.reports else [name for name in t.names("output") if t[name].differentiable]
        if unknown := outputs.keys() - known:
            those = f"gradients come from {', '.join(known)}" if known else "its loss is where gradients begin"
            raise NetspecError(f"{self.type}: no gradient can be given for '{min(unknown)}' ({those})")
        begun = {gradient_of(name): np.ones(t[name].shape, np.float32) for name in known}
        begun |= {gradient_of(name): _fitting(self.type, name, value, t[name]) for name, value in outputs.items()}
        with layer_error(self.type):
            done = single.backward({**values, **begun})
        wanted = [*t.names("input"), *t.names("parameter")]
        return {name: done[gradient_of(name)] for name in wanted if gradient_of(name) in done}


def layer(
    kind: str | Path,
    attrs: Mapping[str, object] | None = None,
    *,
    phase: Phase = "train",
    backend: Backend = "cpu",
    seed: int = 0,
    plugins: Sequence[str | Path] = (),
) -> LoneLayer:
    """A layer without a network: ``layer("conv", {"filters": 8, "size": 3})(x)`` has outputs and gradients.

    ``kind`` is a layer type, or a plugin file that registers one. Parameters are drawn by the layer's initialisers with
    ``seed``, unless they are given in the call. Kernels are those that a run would take; ``backend="cuda"`` without a
    GPU runs them in an emulator, which is slow. Raises NetspecError, also for wrong attributes.
    """
    for given, known in ((phase, PHASES), (backend, get_args(Backend))):
        if given not in known:
            raise NetspecError(f"{given!r} is none of {', '.join(known)}")
    for plugin in plugins:
        load_plugin(plugin)
    name = str(kind)
    if name not in layer_types() and name.endswith(".py"):
        registered = [one for one in types_in(kind) if one in layer_types()]
        if len(registered) != 1:
            raise NetspecError(f"{kind}: name the layer type, it registers {', '.join(registered) or 'none'}")
        (name,) = registered
    if name not in layer_types():
        remedy = meant(name, layer_types())
        raise NetspecError(f"unknown layer type '{name}'{f' ({remedy})' if remedy else ''}")
    return LoneLayer(name, given_attributes(name, attrs or {}), phase, backend, seed)


def _array(kind: str, name: str, value: ArrayLike) -> Array:
    """An input in its dtype: int32 for labels, else float32."""
    array = np.asarray(value)
    wanted = input_tensor(name, array.shape).dtype
    if array.dtype.kind not in ("iub" if wanted == "int32" else "fiub"):
        raise NetspecError(f"{kind}: '{name}' must be an array of {wanted}, got {array.dtype}")
    if not array.ndim:
        raise NetspecError(f"{kind}: '{name}' must be an array, its first axis the batch, got a single number")
    if not array.size:
        raise NetspecError(f"{kind}: '{name}' has no elements, its shape is {array.shape}")
    return array.astype(wanted)


def _check_labels(kind: str, name: str, label: Array, classes: int) -> None:
    if label.min() < 0 or label.max() >= classes:
        found = int(label.min() if label.min() < 0 else label.max())
        raise NetspecError(f"{kind}: '{name}' must be from 0 to {classes - 1}, the number of a class, got {found}")


def _fitting(kind: str, name: str, value: ArrayLike, tensor: Tensor) -> Array:
    array = np.asarray(value, tensor.dtype)
    if array.shape != tensor.shape:
        raise NetspecError(f"{kind}: '{name}' has shape {tensor.shape} here, got {array.shape}")
    return array
