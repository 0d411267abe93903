"""The documentation page of a layer type, or of something else that specs name, made from what its file declares."""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from netspec.contract.source_place import file_of
from netspec.machine.names import nearer

if TYPE_CHECKING:
    from netspec.contract.kernel import Kernel
    from netspec.contract.layer import Layer
    from netspec.report.tables import Table

_FROM_METHODS = {"outputs": "outputs", "params": "parameters", "state": "state", "saved": "keeps for backward"}


_CONTRACT = ("layer", "elementwise", "channelwise", "rowwise", "augmentation", "solver")
_BASES = ("._base", "netspec.data.source", *(f"netspec.contract.{name}" for name in _CONTRACT), "abc")
"""Ends of the names of modules whose classes plugins derive from."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute as a spec writes it; ``default`` is None where it must be written, else text."""

    name: str
    value: str
    default: str | None
    meaning: str


@dataclass(frozen=True, slots=True)
class KernelRow:
    """The kernels of one backend and variant, by direction, in the order in which they run."""

    backend: str
    variant: str
    forward: tuple[str, ...]
    backward: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """All that there is to say; ``kernels`` of layers alone."""

    type: str
    summary: str
    text: str
    facts: Mapping[str, str]
    attributes: tuple[Attribute, ...]
    kernels: tuple[KernelRow, ...]
    example: str


def page(key: str) -> Page:
    """The page of what is registered under that key, see netspec.registry.registered."""
    from netspec.contract.layer import Layer
    from netspec.registry import registered

    cls: Any = registered()[key]
    return _layer_page(cls) if issubclass(cls, Layer) else _plain_page(key, cls)


def _plain_page(key: str, cls: Any) -> Page:
    kind, _, name = key.partition(".")
    needed = ", ".join(f"{attr}: ..." for attr, schema in cls.attrs.items() if "default" not in schema)
    typed = f"{{type: {', '.join(filter(None, (name, needed)))}}}"
    examples = {
        "augmentations": f"augment: {{{name}: {{{needed}}}}}",
        "metrics": f"metrics: [{typed if needed else name}]",
        "callbacks": f"--log {shlex.quote(typed) if needed else name}",
    }
    example = examples.get(kind, typed)
    facts = {"kind": kind, "file": source_of(cls)}
    attributes = tuple(attribute(attr, schema) for attr, schema in cls.attrs.items())
    return Page(name, summary(cls), text(cls), facts, attributes, (), example)


def _layer_page(cls: type[Layer]) -> Page:
    """The page of a layer class."""
    return Page(
        type=cls.type,
        summary=summary(cls),
        text=text(cls),
        facts=dict(_facts(cls)),
        attributes=tuple(attribute(name, schema) for name, schema in cls.attrs_schema.items()),
        kernels=tuple(_kernel_rows(cls)),
        example=_example(cls),
    )


def summary(cls: type) -> str:
    """The first line of a class's file, else of the class."""
    return (_own_module(cls) or text(cls)).partition("\n")[0]


def text(cls: type) -> str:
    """What the author says: of the class, or one of theirs that it derives from, and below the first line of the file.

    The text of netspec's own base classes is about writing layers, and left out.
    """
    above = (one.__dict__.get("__doc__") for one in authored(cls))
    own = inspect.cleandoc(next(filter(None, above), ""))
    more = _own_module(cls).partition("\n")[2].strip()
    return "\n\n".join(filter(None, (own, more)))


def source_of(cls: type) -> str:
    """The file that a class stands in; a notebook has none."""
    file = file_of(cls)
    return nearer(file) if file else "a notebook"


def authored(cls: type) -> list[type]:
    """The class, and those above it up to the base that all of its kind have."""
    return [one for one in cls.__mro__ if one is not object and not one.__module__.endswith(_BASES)]


def _own_module(cls: type) -> str:
    """The docstring of the file that a class stands in; nothing for a notebook, which has one for all."""
    return inspect.cleandoc(sys.modules[cls.__module__].__doc__ or "") if file_of(cls) else ""


def backends(cls: type[Layer]) -> list[str]:
    """Backends that the layer has kernels for."""
    return sorted({backend for kernel in cls.kernels for backend in kernel.backends})


def _facts(cls: type[Layer]) -> Iterator[tuple[str, str]]:
    yield "inputs", _inputs(cls)
    for method, word in _FROM_METHODS.items():
        written = (one.__dict__[method].__doc__ for one in authored(cls) if method in one.__dict__)
        if own := next(filter(None, written), None):
            yield word, " ".join(own.split())
    if cls.reports:
        yield "reports", ", ".join(cls.reports)
    if cls.divided:
        yield "split over devices", f"each device has its share of {' and '.join(cls.divided)}"
    if cls.inplace:
        yield "memory", "may run in place"
    yield "file", source_of(cls)


def _inputs(cls: type[Layer]) -> str:
    if cls.variadic:
        return "any number: x0, x1, ..."
    names = [f"{name} (absent in predict)" if name in cls.optional else name for name in cls.inputs]
    return ", ".join([*names, *(f"{name} (where images are mixed)" for name in cls.mixed)])


def attribute(name: str, schema: Mapping[str, Any]) -> Attribute:
    """An attribute, or another key of a spec, from its JSON Schema."""
    from netspec.spec.wording import describe

    value = "a distribution, see netspec.init" if schema.get("x-netspec") == "initialiser" else describe(schema)
    default = _written(schema["default"]) if "default" in schema else None
    return Attribute(name, value, default, str(schema.get("description", "")))


def _written(value: Any) -> str:
    """A value as a spec writes it."""
    if value is None:
        return "derived"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_written(item)}" for key, item in value.items()) + "}"
    return value.__name__ if callable(value) else str(value)


def _kernel_rows(cls: type[Layer]) -> Iterator[KernelRow]:
    for backend in backends(cls):
        mine = [kernel for kernel in cls.kernels if backend in kernel.backends]
        best = [*cls.prefer.get(backend, ()), "plain"]
        variants = dict.fromkeys(kernel.variant for kernel in mine)
        for variant in sorted(variants, key=lambda name: best.index(name) if name in best else len(best)):
            chosen = [kernel for kernel in mine if kernel.variant == variant]
            yield KernelRow(backend, variant, _named(chosen, "forward"), _named(chosen, "backward"))


def _named(kernels: list[Kernel], direction: str) -> tuple[str, ...]:
    return tuple(_kernel(kernel) for kernel in kernels if kernel.direction == direction)


def _kernel(kernel: Kernel) -> str:
    name = kernel.function.__name__
    when = ", ".join(f"{key}: {_written(value)}" for key, value in kernel.when.items())
    return f"{name} ({when})" if when else name


def _example(cls: type[Layer]) -> str:
    needed = "".join(f", {name}: ..." for name, schema in cls.attrs_schema.items() if "default" not in schema)
    inputs = ", inputs: [one, other]" if cls.variadic or len(cls.inputs) > 1 else ""
    return f"- {{name: {cls.type}1, type: {cls.type}{inputs}{needed}}}"


def parts(page: Page) -> Iterator[Table | str]:
    """The page for a terminal."""
    from netspec.report.tables import table

    yield f"{page.type}: {page.summary}\n"
    if page.text:
        yield page.text + "\n"
    width = max(len(name) for name in page.facts)
    yield "\n".join(f"{name:<{width}}  {text}" for name, text in page.facts.items())
    where = "of netspec run" if page.example.startswith("--") else "in a spec"
    yield f"\n{where}: {page.example}\n"
    if page.attributes:
        rows = [
            (one.name, one.value, "(needed)" if one.default is None else one.default, one.meaning)
            for one in page.attributes
        ]
        columns = ["attribute", "value", "default", "meaning"]
        yield table(columns, rows, fold=("value", "default", "meaning"), title="attributes")
    if not page.kernels:
        return
    kernels = [(row.backend, row.variant, ", ".join(row.forward), ", ".join(row.backward)) for row in page.kernels]
    columns = ["backend", "variant", "forward", "backward"]
    yield table(columns, kernels, fold=("forward", "backward"), title="kernels, best variant first")
