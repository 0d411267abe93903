"""Checks of what a layer declares: docs, schema, shapes. Nothing is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, Protocol

from netspec.check.compare import Failed, Skipped
from netspec.check.subject import Case, Subject
from netspec.contract.kernel import PHASES
from netspec.contract.layer import Layer, Tensors
from netspec.contract.tensor import Flops, Param, Shape, State, Tensor, itemsize
from netspec.contract.values import fits
from netspec.errors import LayerError, NetspecError
from netspec.program.passes import KEYS

_SAMPLES: Mapping[str, Any] = {
    "integer": 3,
    "number": 2.5,
    "string": "no such word",
    "boolean": True,
    "array": ["no such word"],
    "object": {"no such": "word"},
}
_ODD_SHAPES: tuple[Shape, ...] = ((2,), (2, 3), (2, 3, 5), (2, 3, 5, 7), (2, 1, 1, 1), (1, 1), (2, 2, 2, 2, 2))


class Declaring(Protocol):
    """What is checked of any kind of plugin."""

    @property
    def cls(self) -> Any:
        """The class."""


def check_docs(subject: Declaring) -> None:
    """The class and each attribute say what they are: the docs page is made of that."""
    if not subject.cls.__dict__.get("__doc__"):
        raise Failed(f"class {subject.cls.__name__} has no docstring: write the formula and the meaning")
    for name, schema in subject.cls.attrs.items():
        if not schema.get("description"):
            raise Failed(f"attribute '{name}' has no description")


def check_schema(subject: Subject) -> None:
    """Each attribute's schema is valid, takes its own default and the examples, and refuses wrong values."""
    if not subject.cls.attrs_schema:
        raise Skipped("the layer has no attributes")
    for name, schema in subject.cls.attrs_schema.items():
        check_attribute(name, schema)
    _check_examples(subject)
    if find_spec("jsonschema") is None:
        raise Skipped("jsonschema is not installed: checked was all but whether the attributes' schemas are such")


def check_attribute(name: str, schema: Mapping[str, Any]) -> None:
    """Raise Failed for a schema that is none, that its own default does not fit, or that takes what it should not."""
    _check_valid(name, schema)
    default = schema.get("default")
    if default is not None and schema.get("x-netspec") != "initialiser" and not fits(schema, default):
        raise Failed(f"attribute '{name}': the default {default!r} does not fit the attribute's own schema")
    for value, why in _bad_values(schema):
        if fits(schema, value):
            raise Failed(f"attribute '{name}' takes {value!r}: {why}")


def _check_valid(name: str, schema: Mapping[str, Any]) -> None:
    if find_spec("jsonschema") is not None:
        _check_form(name, schema)
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None and low > high:
        raise Failed(f"attribute '{name}': no value fits, minimum {low} lies above maximum {high}")


def _check_form(name: str, schema: Mapping[str, Any]) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(dict(schema))
    except SchemaError as error:
        raise Failed(f"attribute '{name}': not a JSON Schema: {error.message}") from error


def _bad_values(schema: Mapping[str, Any]) -> Iterator[tuple[Any, str]]:
    """Values that must be refused, with the reason to tell where one is not."""
    options = schema.get("anyOf", [schema])
    kinds = {kind for option in options for kind in _kinds(option)}
    for kind, sample in _SAMPLES.items():
        if kind not in kinds and not (kind == "integer" and "number" in kinds):
            yield sample, "state its type in the schema"
    numeric = [option for option in options if {"integer", "number"} & set(_kinds(option))]
    for option in numeric if len(numeric) == 1 else ():
        for key, step in (("minimum", -1), ("exclusiveMinimum", 0), ("maximum", 1), ("exclusiveMaximum", 0)):
            if key in option:
                yield option[key] + step, f"{key} is {option[key]}"


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    kind = [] if "enum" in schema else schema.get("type", [])
    return [kind] if isinstance(kind, str) else list(kind)


def _check_examples(subject: Subject) -> None:
    attrs = subject.cls.attrs_schema
    for example in subject.cls.examples:
        for name, value in example["attrs"].items():
            if name not in attrs:
                raise Failed(f"an example sets '{name}', which is no attribute ({', '.join(attrs) or 'there is none'})")
            if not fits(attrs[name], list(value) if isinstance(value, tuple) else value):
                raise Failed(f"an example sets {name}: {value!r}, which does not fit the attribute's schema")
        missing = [name for name, schema in attrs.items() if "default" not in schema and name not in example["attrs"]]
        if missing:
            raise Failed(f"the example {dict(example)} leaves out '{missing[0]}', which has no default")


def check_shapes(subject: Subject) -> None:
    """Shape rule, parameters, state, saved tensors and FLOPs are well formed, the same each time, names distinct."""
    for case in (*subject.cases, *subject.edges):
        for phase in PHASES:
            layer, inputs = case.layer(phase), case.given(phase)
            arguments: Any = inputs
            outputs = layer.named_outputs(*inputs)
            if outputs != layer.named_outputs(*inputs):
                raise Failed(f"outputs() answers differently when asked twice ({case})")
            _check_outputs(layer, outputs, case)
            _check_stored(layer.params(*arguments), layer.state(*arguments))
            t = layer.tensors(inputs)
            _check_names(layer, t)
            _check_flops(layer.flops(t), case)


def _check_outputs(layer: Layer, outputs: Mapping[str, Tensor], case: Case) -> None:
    if not outputs:
        raise Failed("outputs() gives no output")
    for name, tensor in outputs.items():
        _check_tensor(name, tensor)
        if tensor.dtype == "float64":
            raise Failed(f"output '{name}' is float64: numbers are float32, or stored as an input is, x.dtype ({case})")
        if name != "report" and tensor.shape[0] != case.inputs[0].shape[0]:
            raise Failed(f"output '{name}' is {tensor.shape}: its first axis must be the batch ({case})")
    if layer.reports and layer.phase != "predict":
        wanted = Tensor((len(layer.reports),), differentiable=False)
        if outputs.get("report") != wanted or layer.reports[-1] != "count":
            raise Failed(f"a cost layer's output 'report' must be {wanted}, its last sum 'count'")


def _check_tensor(name: str, tensor: Any) -> None:
    if not isinstance(tensor, Tensor):
        raise Failed(f"'{name}' must be a Tensor, got {tensor!r}")
    if not tensor.shape or not all(type(n) is int and n > 0 for n in tensor.shape):
        raise Failed(f"'{name}' has the shape {tensor.shape}: all axes must be whole numbers above 0")
    try:
        itemsize(tensor.dtype)
    except KeyError:
        raise Failed(f"'{name}' has the unknown dtype {tensor.dtype!r}") from None


def _check_stored(params: Mapping[str, Param], state: Mapping[str, State]) -> None:
    from netspec.init import initial, initialiser_types

    for name, param in params.items():
        if param.init.get("type") not in initialiser_types():
            raise Failed(f"parameter '{name}': init is {dict(param.init)}, its type must be an initialiser")
        try:
            initial(param.init, (1, 1), param.fan_in, param.fan_out, (0, f"parameter '{name}'"))
        except NetspecError as error:
            raise Failed(str(error)) from None
    stored: dict[str, Param | State] = {**params, **state}
    for name, one in stored.items():
        _check_tensor(name, Tensor(one.shape, one.dtype))
        if one.axis is not None and not -len(one.shape) <= one.axis < len(one.shape):
            raise Failed(f"'{name}' of shape {one.shape} has no axis {one.axis} to be cut along")


def _check_names(layer: Layer, t: Tensors) -> None:
    """Kernels ask for numbers by name too; the contract itself sees to it that no two tensors are asked for by one."""
    for name, role in t.roles.items():
        if name in KEYS:
            raise Failed(f"'{name}', a tensor of role {role}, is what kernels call a number of every layer; rename it")
        if layer.attrs_schema.get(name, {}).get("type") in ("integer", "number"):
            raise Failed(f"'{name}' names both an attribute and a tensor: kernels ask for both by name")


def _check_flops(flops: Any, case: Case) -> None:
    counts = (flops.forward, flops.d_inputs, flops.d_params) if isinstance(flops, Flops) else ()
    if not counts or not all(type(count) is int and count >= 0 for count in counts):
        raise Failed(f"flops() must give Flops of whole numbers, got {flops!r} ({case})")


def check_shape_errors(subject: Subject) -> None:
    """Inputs that do not fit are told by LayerError, never by another exception."""
    for case in subject.cases:
        for odd in _odd(case):
            try:
                odd.layer().tensors(odd.given("train"))
            except LayerError:
                continue
            except Exception as error:
                told = f"{type(error).__name__}: {error}"
                raise Failed(f"inputs that do not fit raise {told}; it must be a LayerError ({odd})") from error


def _odd(case: Case) -> Iterator[Case]:
    """The case with odd shapes: of all inputs, and of each by itself, so that they do not fit each other."""
    places = range(len(case.inputs)) if len(case.inputs) > 1 else ()
    for shape in _ODD_SHAPES:
        yield case.reshaped(lambda _, shape=shape: shape)  # type: ignore[misc]
        for place in places:
            changed = replace(case.inputs[place], shape=shape)
            yield replace(case, inputs=(*case.inputs[:place], changed, *case.inputs[place + 1 :]))
