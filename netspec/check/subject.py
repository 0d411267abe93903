"""What is checked: a layer type with the cases that its examples, or its schema, give."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

import numpy as np

from netspec.check.checked import checked_cpu
from netspec.check.compare import Failed, Skipped
from netspec.check.single import Array, SingleLayer, Values, gradient_of
from netspec.contract.attrs import filled
from netspec.contract.elementwise import Elementwise
from netspec.contract.kernel import Backend, Phase
from netspec.contract.layer import Layer
from netspec.contract.tensor import Param, Shape, Tensor
from netspec.device.base import Device
from netspec.device.cpu.device import CpuDevice
from netspec.device.gpus import finds_compiler
from netspec.errors import LayerError
from netspec.init import initialiser_types
from netspec.registry import layer_types

_SHAPES: tuple[Shape, ...] = ((2, 5, 6, 4), (12, 8))
"""Rows enough for statistics over them: of two alone, a mean and a variance leave nothing but what was rounded."""
_MANY: Shape = (3, 7, 9, 7)
"""More elements than a block of threads of an elementwise layer does, and not in fours."""
INSTALL = "pip install 'netspec[cuda13]'"
"""What brings CUDA's compiler."""
_FAN_IN = 64
"""Weights with more terms are drawn smaller: products of so many could leave no function behind them but its tails."""
_INITIALISER = {"type": "gaussian", "std": 0.1}


@dataclass(frozen=True)
class Case:
    """One example: complete attributes and the inputs' tensors, the optional ones included, and mixed ones or not."""

    cls: type[Layer]
    attrs: Mapping[str, Any]
    inputs: tuple[Tensor, ...]
    keys: Mapping[str, int] = field(default_factory=dict)
    drawn: bool = field(default=False, compare=False)
    """Whether the suite has chosen the shapes, and not the layer's author."""

    def __str__(self) -> str:
        attrs = ", ".join(f"{k}: {v}" for k, v in self.attrs.items()) or "no attributes"
        return f"{attrs}; inputs {', '.join(str(tensor.shape) for tensor in self.inputs)}"

    def given(self, phase: Phase) -> tuple[Tensor | None, ...]:
        """The inputs as the shape rule gets them: optional ones are absent in predict."""
        absent = {"train": (), "eval": self.cls.mixed, "predict": (*self.cls.optional, *self.cls.mixed)}[phase]
        names = self.cls.input_names(len(self.inputs))
        return tuple(None if name in absent else tensor for name, tensor in zip(names, self.inputs, strict=True))

    def layer(self, phase: Phase = "train") -> Layer:
        """An instance for that phase."""
        return self.cls(self.attrs, phase)

    def on(self, device: Device, phase: Phase = "train", **options: Any) -> SingleLayer:
        """The layer on a device, in float32 and with the plain kernels unless the options say otherwise.

        In float64, in which the plain kernels are what others are held to, those for CPUs check each index.
        """
        if type(device) is CpuDevice and options.get("dtype") == "float64":
            device = checked_cpu()
        return SingleLayer(
            self.cls.type, self.attrs, self.given(phase), device, phase=phase, keys=dict(self.keys), **options
        )

    def reshaped(self, change: Callable[[Shape], Shape]) -> Case:
        """The same case with other input shapes."""
        inputs = tuple(replace(tensor, shape=change(tensor.shape)) for tensor in self.inputs)
        return replace(self, inputs=inputs, drawn=True)

    def stored_as_bfloat16(self) -> Case:
        """The same case as networks whose activations are bfloat16 have it."""
        return replace(self, inputs=as_bfloat16(self.cls, self.inputs))

    def fits(self) -> bool:
        """Whether the shape rule takes these inputs."""
        try:
            self.layer().tensors(self.given("train"))
        except LayerError:
            return False
        return True


def as_bfloat16(cls: type[Layer], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """A layer's inputs as networks whose activations are bfloat16 have them; targets and shares stay float32."""
    wide = (*cls.optional, *cls.mixed)
    return tuple(
        replace(one, dtype="bfloat16") if one.dtype == "float32" and name not in wide else one
        for name, one in zip(cls.input_names(len(inputs)), inputs, strict=True)
    )


@dataclass(frozen=True)
class Subject:
    """A layer type, its cases and the backends to check."""

    name: str
    backends: tuple[Backend, ...] = ("cpu",)
    required: tuple[Backend, ...] = ()
    """Those without whose kernels, or without what runs them, the layer does not pass."""

    @property
    def cls(self) -> type[Layer]:
        """The layer's class."""
        return layer_types()[self.name]

    @functools.cached_property
    def cases(self) -> tuple[Case, ...]:
        """The declared examples, else plausible attributes with a batch of images and one of rows."""
        if self.cls.examples:
            return tuple(_case(self.cls, example) for example in self.cls.examples)
        tried = (*_SHAPES, _MANY) if issubclass(self.cls, Elementwise) else _SHAPES
        cases = [case for case in map(functools.partial(_guess, self.cls), tried) if case.fits()]
        if not cases:
            shapes = " or ".join(map(str, _SHAPES))
            raise Failed(f"inputs of shape {shapes} do not fit: declare examples = ({{'attrs': ..., 'inputs': ...}},)")
        return tuple(cases)

    @functools.cached_property
    def edges(self) -> tuple[Case, ...]:
        """The cases with a batch of one and, where that fits, images of one pixel."""
        ones = [case.reshaped(lambda shape: (1, *shape[1:])) for case in self.cases]
        dots = [case.reshaped(_to_pixel) for case in self.cases]
        return tuple(case for case in (*ones, *dots) if case.fits() and case not in self.cases)

    @functools.cached_property
    def device(self) -> Device:
        """Where the plain kernels run: a CPU, or a GPU for a layer without CPU kernels."""
        return cpu() if "cpu" in self.kernel_backends else self.gpu

    @property
    def kernel_backends(self) -> set[Backend]:
        """Backends that the layer has kernels for."""
        return {backend for kernel in self.cls.kernels for backend in kernel.backends}

    @property
    def asked(self) -> tuple[Backend, ...]:
        """Backends to check, of those that the layer has kernels for. Raises Failed where a required one is missing."""
        for backend in self.required:
            if backend not in self.kernel_backends:
                raise Failed(f'the layer has no kernels for {backend}: mark some @forward("{backend}", ...), or leave '
                             f"out --backend {backend}")  # fmt: skip
        return tuple(backend for backend in self.backends if backend in self.kernel_backends)

    @property
    def gpu(self) -> Device:
        """A GPU, or what stands for one; raises Skipped where there is neither or nothing to run on it.

        Failed in place of it where CUDA is required.
        """
        if "cuda" not in self.kernel_backends:
            raise Skipped("the layer has no CUDA kernels")
        if "cuda" not in self.backends:
            raise Skipped("not asked for CUDA")
        try:
            return gpu()
        except Skipped as reason:
            if "cuda" in self.required:
                raise Failed(str(reason)) from reason
            raise

    def trips(self, phase: Phase = "train") -> Iterator[tuple[Case, Values]]:
        """All cases, edges last, with values for their tensors."""
        for case in (*self.cases, *self.edges):
            yield case, draw(case, phase)


@functools.cache
def cpu() -> CpuDevice:
    """A CPU with a team of one."""
    return CpuDevice(0, 1)


@functools.cache
def gpu() -> Device:
    """The first GPU, or an emulator where there is none. Raises Skipped where neither can be had."""
    try:
        from netspec.device.cuda.device import CudaDevice
        from netspec.kernels.numba_cuda import cuda
    except ImportError as error:
        raise Skipped(f"numba-cuda is not installed ({error}): {INSTALL}") from error
    if cuda.is_available():
        return CudaDevice(0)
    if not finds_compiler():
        raise Skipped(f"there is no GPU, and to emulate one CUDA's compiler is missing: {INSTALL}")
    from netspec.device.emulated.device import EmulatedCuda

    return EmulatedCuda()


def draw(case: Case, phase: Phase = "train") -> dict[str, Array]:
    """Values for inputs, parameters, state and the gradients of outputs; each follows from its name and shape."""
    layer, inputs = case.layer(phase), case.given(phase)
    t = layer.tensors(inputs)
    rows: Any = inputs
    values = {name: _normal(name, p.shape) * _scale(p) for name, p in layer.params(*rows).items()}
    values |= {name: _rng(name).uniform(0.5, 1.5, s.shape).astype(s.dtype) for name, s in layer.state(*rows).items()}
    names = layer.input_names(len(inputs))
    for name, tensor in zip(names, inputs, strict=True):
        if tensor is not None:
            values[name] = drawn_input(name, tensor, t.inputs[0].shape[-1])
    if phase == "train" and not layer.reports:
        outputs = {name: t[name] for name in t.output_names if t[name].differentiable}
        gradients = {gradient_of(name): tensor for name, tensor in outputs.items()}
        values |= {name: _normal(name, tensor.shape) for name, tensor in gradients.items()}
    return values


def _scale(param: Param) -> np.float32:
    return np.float32(0.5 * min(1.0, (_FAN_IN / max(param.fan_in or 1, 1)) ** 0.5))


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(crc32(name.encode()))


def _normal(name: str, shape: Shape) -> Array:
    return _rng(name).normal(size=shape).astype(np.float32)


def drawn_input(name: str, tensor: Tensor, classes: int) -> Array:
    """Values for an input, which follow from its name and shape; a label's are below ``classes``."""
    if tensor.dtype.startswith("float"):
        return _normal(name, tensor.shape)
    high = 256 if tensor.dtype == "uint8" else classes
    return _rng(name).integers(0, high, tensor.shape).astype(tensor.dtype)


def complete(cls: type[Layer], attrs: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes with defaults filled in, and one group where the plan would say how many."""
    values = filled(cls.attrs_schema, attrs)
    return {**values, "groups": 1} if "groups" in values and values["groups"] is None else values


def _case(cls: type[Layer], example: Mapping[str, Any]) -> Case:
    shapes: Sequence[Shape] = example["inputs"]
    names = cls.input_names(len(shapes))
    if len(names) != len(shapes):
        raise Failed(f"the example {dict(example)} has {len(shapes)} inputs, the layer reads {', '.join(names)}")
    inputs = tuple(input_tensor(name, tuple(shape)) for name, shape in zip(names, shapes, strict=True))
    return Case(cls, complete(cls, example["attrs"]), inputs)


def _guess(cls: type[Layer], shape: Shape) -> Case:
    names = cls.input_names(2)
    inputs = tuple(input_tensor(name, shape[:1] if name == "label" else shape) for name in names)
    guesses = {name: plausible(schema) for name, schema in cls.attrs_schema.items() if "default" not in schema}
    return Case(cls, complete(cls, guesses), inputs, drawn=True)


def input_tensor(name: str, shape: Shape) -> Tensor:
    """The tensor of an input of that name; labels are int32."""
    return Tensor(shape, "int32" if name in ("label", "other") else "float32")


def plausible(schema: Mapping[str, Any]) -> Any:
    """A small valid value for an attribute."""
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return plausible(schema["anyOf"][0])
    if schema.get("x-netspec") == "initialiser":
        assert _INITIALISER["type"] in initialiser_types()
        return dict(_INITIALISER)
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if schema.get("type") == "integer":
        return max(2, low) if high is None else min(max(2, low), high)
    if schema.get("type") == "number":
        return low + 0.5 if high is None else (low + high) / 2
    return {"boolean": False, "string": "", "array": [], "object": {}}.get(str(schema.get("type")))


def _to_pixel(shape: Shape) -> Shape:
    return (shape[0], 1, 1, shape[3]) if len(shape) == 4 else shape
