"""The base class of layers: what a plugin declares, before anything is allocated or compiled."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, TypeAlias

from netspec.contract.attrs import Attr, check_attrs, filled
from netspec.contract.augmentation import MIXED
from netspec.contract.borrowed import borrowed, lenders, lent
from netspec.contract.kernel import Backend, Direction, Kernel, Kernels, Phase
from netspec.contract.naming import Argument, check_names
from netspec.contract.tensor import Flops, Param, State, Tensor, Workspace
from netspec.contract.variant import Capability, Variant, by_cost, names_by_backend
from netspec.errors import LayerError

Outputs = Tensor | Mapping[str, Tensor]
Scalar = int | float | tuple[int | float, ...]
"""A number, or a tuple of numbers, named or not."""


TensorRole = Literal["input", "output", "parameter", "state", "saved"]


class Tensors(SimpleNamespace):
    """All tensors of one layer by name, as attributes: ``t.x.shape``, ``t.y``, ``t.weight``; ``t.inputs`` in order.

    ``t.roles`` says of each name what it is to the layer.
    """

    inputs: tuple[Tensor, ...]
    roles: Mapping[str, TensorRole]

    def names(self, role: TensorRole) -> tuple[str, ...]:
        """Names of the tensors of that role, in order."""
        return tuple(name for name, one in self.roles.items() if one == role)

    def gradient(self, name: str) -> Tensor:
        """The gradient of a tensor: of its shape and dtype, but that of a parameter is float32 always."""
        tensor = self[name]
        widened = tensor.dtype != "float32" and self.roles.get(name) == "parameter"
        return replace(tensor, dtype="float32") if widened else tensor

    def of(self, one: Argument) -> Tensor:
        """What an argument of a kernel stands for."""
        return self.gradient(one.tensor) if one.role == "gradient" else self[one.tensor]

    def __getitem__(self, name: str) -> Tensor:
        return getattr(self, name)  # type: ignore[no-any-return]


Lender: TypeAlias = "type[Layer]"
"""A layer whose kernels another one borrows."""


class Layer:
    """One layer type. Subclass it, set the class attributes, write the shape rule and mark the kernels.

    An instance is one shard of one layer in one phase: ``self.attrs`` holds its attributes (those in ``divided``
    already divided by the number of devices), ``self.phase`` is train, eval or predict. Methods are pure.
    """

    type: ClassVar[str]
    attrs_schema: ClassVar[Mapping[str, Attr]]
    attrs: Any = {}
    """JSON Schema fragments by attribute name; see netspec.contract.attrs. On an instance: the values."""
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    """Names of the inputs, in the order of the spec."""
    variadic: ClassVar[bool] = False
    """Takes any number of inputs, named x0, x1, ...; ``inputs`` is then ignored."""
    optional: ClassVar[tuple[str, ...]] = ()
    """Inputs that are absent in predict (a label); the shape rule then gets None."""
    mixed: ClassVar[tuple[str, ...]] = ()
    """``("other", "share")`` for a cost layer that can learn from mixed images: further inputs, which no spec names.

    In training where ``data.augment`` mixes images the shape rule and the kernels get them as well: int32 (N,), the
    labels of those that are mixed in, and float32 (N,), their shares. Kernels say ``when={"other": True}``.
    """
    divided: ClassVar[tuple[str, ...]] = ()
    """Attributes that count something of the whole layer and are divided over its devices (filters, groups)."""
    mixes_channels: ClassVar[bool] = False
    """Reads several channels for one output channel; has a ``groups`` attribute then, see Plan."""
    channelwise: ClassVar[bool] = False
    """Each channel of an output depends on the channels of the same number of the inputs alone."""
    inplace: ClassVar[bool] = False
    """y may lie in x's memory, and d_x in d_y's: each element is read before it is written, by the same thread."""
    reports: ClassVar[tuple[str, ...]] = ()
    """Cost layers: names of the sums over valid rows in the float32 output ``report``, first the loss, last ``count``.

    What is reported of the others is the mean, or what the metric of that name makes of the sum (netspec.metrics). The
    output ``probs`` (N, classes) or ``prediction`` (N, numbers) is the network's answer.

    Backward gives the gradient of loss / count, times the attribute ``weight`` where there is one.
    """
    prefer: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Backend -> variants of kernels, best first; "plain" is always last and need not be named."""
    bounds: ClassVar[Mapping[str, float]] = {}
    """Variant -> error bound that it declares where 1e-5 cannot hold (Winograd, tf32)."""
    needs: ClassVar[Mapping[str, Capability]] = {}
    """Variant -> the capability of the devices that alone have its instructions; it is never taken on others."""
    nonfinite: ClassVar[Mapping[str, str]] = {}
    """Exceptions from the rule that a NaN reaches all that could change with it (see netspec.plugin), with the reason:
    a tensor that kernels write, or a sum in ``reports``, that may stay finite."""
    kinks: ClassVar[str | None] = None
    """Where the function has no derivative, in words: the gradient check leaves out elements that it finds there."""
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    """What the contract suite runs: ``{"attrs": {...}, "inputs": [shape, ...]}`` with small shapes, batch included."""
    whole_only: ClassVar[str | None] = None
    """For a layer that cannot be cut over devices: what to do instead, for the error message."""
    over_images: ClassVar[str | None] = None
    """What it computes over the images of a training batch, in words; with replicas over those of each replica."""
    backward_as: ClassVar[Lender | Literal["itself"] | None] = None
    """The layer whose forward pass, its plain kernels, is this one's backward pass: it reads dy as its x and writes d_x
    as its y. Its attributes are those of ``other_attrs``; what it makes of y's shape must be x's."""
    forward_as: ClassVar[Lender | None] = None
    """The layer whose backward pass is this one's forward pass: it reads x as its dy and writes y as its d_x."""
    variants: ClassVar[tuple[Variant, ...]] = ()
    """Ways to compute it that lie in files of their own, best first; see netspec.contract.variant."""
    kernels: ClassVar[tuple[Kernel, ...]] = ()
    """Kernels that run after those marked in the class body, as several layers have them. On the class: all kernels."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _check_spelling(cls)
        check_attrs(cls.__name__, cls.__dict__.get("attrs", {}))
        if cls.mixed not in ((), tuple(MIXED)):
            raise TypeError(f"{cls.__name__}: mixed is {tuple(MIXED)} or nothing, not {cls.mixed!r}")
        cls.attrs_schema = {**getattr(cls, "attrs_schema", {}), **cls.__dict__.get("attrs", {})}
        cls.attrs = cls.attrs_schema
        if stray := [one for one in cls.__dict__.values() if hasattr(one, "__netspec_pass__")]:
            raise TypeError(f"{cls.__name__}: {stray[0].__netspec_pass__}")
        values = [value for value in cls.__dict__.values() if isinstance(value, Kernel | Kernels)]
        marked = [kernel for value in values for kernel in (value if isinstance(value, Kernels) else (value,))]
        variants = cls.__dict__.get("variants", ())
        own = [*marked, *cls.__dict__.get("kernels", ()), *(kernel for one in variants for kernel in one.kernels)]
        own += borrowed(cls, own)
        inherited = next(base.kernels for base in cls.__mro__[1:] if issubclass(base, Layer))
        cls.kernels = _overridden(inherited, own, cls.__name__)
        if variants:
            cls.prefer = {**names_by_backend(variants, marked), **cls.__dict__.get("prefer", {})}
            cls.bounds = {**{one.name: one.bound for one in variants if one.bound}, **cls.__dict__.get("bounds", {})}
            cls.needs = {one.name: one.capability for one in variants if one.capability}

    given: Sequence[str] = ()
    """Names of the inputs that are there, of a layer with ``mixed`` ones."""

    def __init__(self, attrs: Mapping[str, Any], phase: Phase = "train") -> None:
        self.attrs = SimpleNamespace(**filled(self.attrs_schema, attrs))
        self.phase: Phase = phase

    # What a plugin writes -------------------------------------------------------------------------------------------

    def outputs(self, *inputs: Tensor) -> Outputs:
        """Shape rule: the output ``y``, or outputs by name. Raises LayerError where the inputs do not fit."""
        raise NotImplementedError

    def params(self, *inputs: Tensor) -> Mapping[str, Param]:
        """Parameters by name."""
        return {}

    def state(self, *inputs: Tensor) -> Mapping[str, State]:
        """State by name."""
        return {}

    def saved(self, *inputs: Tensor) -> Mapping[str, Tensor]:
        """Tensors beyond inputs and outputs that forward leaves for backward (an argmax, a mask)."""
        return {}

    def workspace(self, t: Tensors, variant: str, direction: Direction) -> Mapping[str, Workspace]:
        """Scratch arrays of that variant's kernels, by the name under which a kernel takes them."""
        named = [one.workspace(self, t, direction) for one in self.variants if one.name == variant]
        return {name: space for spaces in named for name, space in spaces.items()}

    def scalars(self, t: Tensors, index: int | None = None) -> Mapping[str, Scalar]:
        """Further numbers that kernels take by name; ``index`` is the input's number in an ``each`` pass."""
        asked = dict.fromkeys(one.scalars for one in self.variants)
        return {name: value for scalars in asked for name, value in scalars(self, t).items()}

    def supports(self, t: Tensors, variant: str) -> bool:
        """Whether that variant can run these shapes and dtypes; "plain" always must."""
        return all(one.supports(self, t) for one in self.variants if one.name == variant)

    def rank(
        self, t: Tensors, direction: Direction, variants: Sequence[str], capability: Capability | None = None
    ) -> Sequence[str]:
        """The variants of a backend, best first, for these shapes: as in ``prefer``, or by their estimated cost.

        ``capability`` is the device's, where it is known.
        """
        return by_cost(self.variants, variants, self, t, direction, capability)

    def flops(self, t: Tensors) -> Flops:
        """Operations for the batch; by default one an output element in each direction, or an input's for a report."""
        names = self.output_names(t)
        count = t.inputs[0].size if names == ("report",) else sum(t[name].size for name in names)
        return Flops(forward=count, d_inputs=count)

    def onnx(self, nodes: Any, t: Tensors, *values: str) -> str | Mapping[str, str]:
        """Write the layer's inference into an ONNX graph; gives the name of the output there, or names by output.

        ``values`` are the names of the inputs; ``nodes.add(op, *values, **attributes)`` adds an operator,
        ``nodes.constant(array)`` a constant, ``nodes.params`` has the parameters' arrays. Images are (N, C, H, W)
        there: see netspec.exchange.onnx_nodes. Raises LayerError where there is no such form.
        """
        raise LayerError(f"a layer of type '{self.type}' has no ONNX form", "write its method onnx")

    def torch(self, code: Any, t: Tensors, *values: str) -> str | Mapping[str, str]:
        """The layer's inference as an expression of PyTorch, or expressions by output.

        ``values`` are those of the inputs, names or expressions; ``code.module("nn.Linear", 4, 3)`` gives the layer a
        module and returns what to call, after ``code.holds("weight", (1, 0))`` for each of its tensors. Images are
        (N, C, H, W) there: see netspec.exchange.torch_code. Raises LayerError where there is no such form.
        """
        raise LayerError(f"a layer of type '{self.type}' has no form in PyTorch", "write its method torch")

    def whole_batch(self) -> bool:
        """Whether ``over_images`` must be over the whole batch: such a layer goes with one replica alone."""
        return False

    def other_attrs(self) -> Mapping[str, Any]:
        """The attributes of the layer in ``backward_as`` or ``forward_as``: those of the same name, unless said."""
        known = {name for _, lender in lenders(type(self)) for name in lender.attrs_schema}
        return {name: value for name, value in vars(self.attrs).items() if name in known}

    # What the core asks ---------------------------------------------------------------------------------------------

    @property
    def loss_weight(self) -> float:
        """The factor of a cost layer's loss in the sum of all: the attribute ``weight``, 1 where there is none."""
        return float(getattr(self.attrs, "weight", 1.0))

    @classmethod
    def input_names(cls, count: int) -> tuple[str, ...]:
        """Names of ``count`` inputs."""
        if cls.variadic:
            return tuple(f"x{i}" for i in range(count))
        return cls.inputs if count <= len(cls.inputs) else (*cls.inputs, *cls.mixed)

    @property
    def conditions(self) -> Mapping[str, Any]:
        """What decides which kernels are meant, see ``when``: attributes, and whether ``mixed`` inputs are there."""
        attrs = vars(self.attrs)
        return {**attrs, **{name: name in self.given for name in self.mixed}} if self.mixed else attrs

    def named_outputs(self, *inputs: Tensor | None) -> dict[str, Tensor]:
        """The shape rule's answer, always by name."""
        result = self.outputs(*inputs)  # type: ignore[arg-type]
        if not isinstance(result, Tensor | Mapping):
            raise TypeError(f"outputs() must give a Tensor, or Tensors by name, got {result!r}")
        return {"y": result} if isinstance(result, Tensor) else dict(result)

    def output_names(self, t: Tensors) -> tuple[str, ...]:
        """Names of the outputs among the tensors."""
        return tuple(t.output_names)

    def tensors(self, inputs: Sequence[Tensor | None]) -> Tensors:
        """Everything the layer declares for these inputs, by name.

        Raises LayerError where the shape rule does, where names clash, and where a borrowed pass has other shapes.
        """
        made = self.own_tensors(inputs)
        for direction, _ in lenders(type(self)):
            lent(self, made, direction)
        return made

    def own_tensors(self, inputs: Sequence[Tensor | None]) -> Tensors:
        """The same, whatever is borrowed."""
        names = self.input_names(len(inputs))
        args: Any = inputs
        groups: dict[TensorRole, Mapping[str, Tensor]] = {
            "input": {name: tensor for name, tensor in zip(names, inputs, strict=True) if tensor is not None},
            "output": self.named_outputs(*inputs),
            "parameter": {name: Tensor(p.shape, p.read_as(inputs)) for name, p in self.params(*args).items()},
            "state": {name: Tensor(s.shape, s.dtype) for name, s in self.state(*args).items()},
            "saved": self.saved(*args),
        }
        check_names(getattr(self, "type", type(self).__name__), [name for group in groups.values() for name in group])
        return Tensors(
            **{name: tensor for group in groups.values() for name, tensor in group.items()},
            inputs=tuple(groups["input"].values()),
            output_names=tuple(groups["output"]),
            roles={name: role for role, group in groups.items() for name in group},
        )

    def variant_names(self, backend: Backend) -> tuple[str, ...]:
        """Variants of kernels for a backend, best first, the plain one last."""
        have = {kernel.variant for kernel in self.kernels if backend in kernel.backends}
        order = (*self.prefer.get(backend, ()), "plain")
        return tuple(variant for variant in dict.fromkeys(order) if variant in have)

    def passes(self, backend: Backend, direction: Direction, variant: str) -> tuple[Kernel, ...]:
        """The kernels of one direction in order; a direction that a variant leaves out is the plain one's."""
        chosen = self._marked(backend, direction, variant)
        return chosen or self._marked(backend, direction, "plain")

    def _marked(self, backend: Backend, direction: Direction, variant: str) -> tuple[Kernel, ...]:
        conditions = self.conditions
        return tuple(
            kernel
            for kernel in self.kernels
            if backend in kernel.backends
            and (kernel.direction, kernel.variant) == (direction, variant)
            and kernel.applies(conditions, self.phase)
        )


def _check_spelling(cls: type[Layer]) -> None:
    """TypeError for a name that is almost one that layers declare, such as ``mixes_channel``: nobody would read it."""
    known = [name for name in dir(Layer) if not name.startswith("_")]
    for name, value in cls.__dict__.items():
        if name.startswith("_") or hasattr(Layer, name) or isinstance(value, Kernel | Kernels):
            continue
        if meant := difflib.get_close_matches(name, known, 1, 0.88):
            raise TypeError(f"{cls.__name__}: '{name}' is nothing that a layer declares; did you mean '{meant[0]}'?")


def _overridden(inherited: Sequence[Kernel], own: Sequence[Kernel], owner: str) -> tuple[Kernel, ...]:
    """A class's kernels in the order of their passes: one that replaces an inherited one of its name has its place.

    Raises TypeError where two functions have one name, by which plans tell them apart; one function marked for several
    variants is no clash.
    """
    functions = {kernel.function.__name__: kernel.function for kernel in own}
    if clash := next((k for k in own if functions[k.function.__name__] is not k.function), None):
        raise TypeError(f"{owner}: two kernels are different functions called '{clash.function.__name__}'; rename one")
    before = [kernel.function.__name__ for kernel in inherited]
    kept = [(place, kernel) for place, kernel in enumerate(inherited) if before[place] not in functions]
    places = {name: place for place, name in reversed([*enumerate(before)])}
    new = [(places.get(kernel.function.__name__, len(before)), kernel) for kernel in own]
    return tuple(kernel for _, kernel in sorted([*kept, *new], key=lambda pair: pair[0]))
