"""Checks of what marks and ``scalars`` say against what the layer has: attributes, variants, shapes of arrays."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from typing import Any

from netspec.check.compare import Failed
from netspec.check.subject import Subject
from netspec.contract.kernel import PHASES, Kernel
from netspec.contract.layer import Layer, Tensors
from netspec.contract.naming import argument
from netspec.contract.source_place import place_of
from netspec.contract.tensor import Shape


def check_marks(subject: Subject) -> None:
    """Attributes and variants that marks name are there, arrays have numbers for elements or channels as marked."""
    for kernel in subject.cls.kernels:
        _check_when(subject.cls, kernel)
        _check_variant(subject.cls, kernel)
    for case in subject.cases:
        for phase in PHASES:
            layer = case.layer(phase)
            t = layer.tensors(case.given(phase))
            _check_scalars(layer, t)
            for kernel in layer.kernels:
                if kernel.applies(layer.conditions, phase) and not kernel.each and not kernel.borrowed:
                    _check_axes(t, kernel)
                    _check_arrays(t, kernel)


def _told(kernel: Kernel, words: str, parameter: str = "") -> Failed:
    return Failed(f"{place_of(kernel.function, parameter)}: {kernel.function.__name__} {words}")


def _check_when(cls: type[Layer], kernel: Kernel) -> None:
    """``when`` names attributes, and values that these can have."""
    for name, wanted in kernel.when.items():
        schema = cls.attrs_schema.get(name)
        if schema is None and name not in cls.mixed:
            known = ", ".join(cls.attrs_schema) or "it has none"
            raise _told(kernel, f"is marked when {name!r} is {wanted!r}, which is no attribute of the layer ({known})")
        words = (schema or {}).get("enum")
        if words is not None and not callable(wanted) and wanted not in words:
            raise _told(kernel, f"is marked when {name!r} is {wanted!r}, which it never is: it is one of {list(words)}")


def _check_variant(cls: type[Layer], kernel: Kernel) -> None:
    """A variant is among those that are preferred on a backend, or it would never run."""
    for backend in kernel.backends:
        if kernel.variant != "plain" and kernel.variant not in cls.prefer.get(backend, ()):
            remedy = f'prefer = {{"{backend}": ("{kernel.variant}",)}} says so, best first'
            raise _told(kernel, f"is of the variant '{kernel.variant}', which nothing chooses on {backend}: {remedy}")


def _check_scalars(layer: Layer, t: Tensors) -> None:
    """Numbers, and tuples of numbers."""
    for name, value in layer.scalars(t).items():
        parts = value if isinstance(value, tuple) else (value,)
        if odd := [one for one in parts if not isinstance(one, numbers.Number)]:
            what = f"scalars() gives '{name}' as {type(odd[0]).__name__}"
            raise Failed(f"{place_of(type(layer).scalars)}: {what}: numbers and tuples of numbers can be given")


def _check_axes(t: Tensors, kernel: Kernel) -> None:
    """Positions run along axes that the array has."""
    found = argument(kernel.over, t.roles)
    if found is None or found.tensor not in t.roles or kernel.axes is None:
        return
    shape = t[found.tensor].shape
    axes = (kernel.axes,) if isinstance(kernel.axes, int) else kernel.axes
    if beyond := [axis for axis in axes if not -len(shape) <= axis < len(shape)]:
        remedy = "refuse such inputs in outputs(), or name axes that all have; examples say which inputs are tried"
        raise _told(kernel, f"runs along axis {beyond[0]} of '{kernel.over}', which is {_text(shape)}: {remedy}")


def _check_arrays(t: Tensors, kernel: Kernel) -> None:
    """Parameters of functions of single numbers are elements of arrays like x, or of arrays of a number a channel."""
    function: Callable[..., Any] = kernel.function
    kinds: Mapping[str, tuple[str, ...]] = getattr(function, "__netspec_arrays__", {})
    x = t.inputs[0].shape
    for kind, names in kinds.items():
        for name in names:
            found = argument(name, t.roles)
            if found is None or found.tensor not in t.roles:
                continue
            shape = t[found.tensor].shape
            if kind == "elements" and shape != x:
                raise _told(kernel, f"takes '{name}' for an element of an array like {_text(x)}, and it is "
                                    f"{_text(shape)}{_remedy(name in kernel.writes, shape, x)}", name)  # fmt: skip
            if kind == "channels" and shape != x[-1:]:
                raise _told(kernel, f"takes '{name}' for a number of each of {x[-1]} channels, and it is "
                                    f"{_text(shape)}", name)  # fmt: skip


def _remedy(written: bool, shape: Shape, x: Shape) -> str:
    if shape != x[-1:]:
        return ""
    return "; per_channel writes sums" if written else "; a number of the channel is named in channels=[...]"


def _text(shape: Shape) -> str:
    return str(tuple(shape))
