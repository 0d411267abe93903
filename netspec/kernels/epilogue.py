"""Epilogues of GPU kernels: fused elementwise layers, as one generated function applied before results are stored.

Forward it maps one number; backward, a float4 of gradients with the residual that the layer's backward reads.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from netspec.contract.elementwise import scalar_of
from netspec.contract.kernel import device, load4, store4
from netspec.kernels.lookup import find_kernel

Argument = tuple[type, Any] | str
"""An attribute with its type, or the name of an array's element."""
Link = tuple[Callable[..., Any], tuple[Argument, ...]]
"""A function of numbers and what it is called with."""
_GRADIENT = "dy", "d_y"
"""What a backward function may call the gradient."""


def epilogue_of(tails: Sequence[tuple[str, Mapping[str, Any]]]) -> Callable[..., Any] | None:
    """The composition of elementwise layers that replaces ``epilogue`` in a kernel; None for none.

    ``tails`` names their kernels, with their scalars: forward ones, or a single backward one. Attributes are constants
    of its code. Each result is rounded to the compute dtype, as if it had been stored; what is stored as bfloat16 is
    rounded to it after the last one.
    """
    if tails and find_kernel(tails[0][0]).direction == "backward":
        (tail,) = tails
        return _four(_link(tail))
    return _chain(tuple(map(_link, tails))) if tails else None


def _link(tail: tuple[str, Mapping[str, Any]]) -> Link:
    kernel, scalars = tail
    called = scalar_of(find_kernel(kernel))
    values = {name: scalars.get(name) for name in inspect.signature(called).parameters}
    return called, tuple(name if value is None else (type(value), value) for name, value in values.items())


@functools.cache
def _chain(links: tuple[Link, ...]) -> Callable[..., Any]:
    """Generated code, a line a layer: ``value = f(value, slope)``; functions and attributes are its globals."""
    scope: dict[str, Any] = {}
    lines = ["def epilogue(value):", "    value = _netspec_cast(value)"]
    for number, (function, arguments) in enumerate(links):
        words = _words(scope, number, arguments, {name: "value" for name in arguments if isinstance(name, str)})
        scope[f"f{number}"] = function
        lines.append(f"    value = _netspec_cast(f{number}({words}))")
    return _defined("epilogue", [*lines, "    return value"], scope)


@functools.cache
def _four(link: Link) -> Callable[..., Any]:
    """Generated code: a backward function on a float4 of gradients and, if it reads one, of the residual."""
    function, arguments = link
    scope: dict[str, Any] = {"f0": function, "residual4": residual4}
    lines = ["def epilogue(a, b, c, d, residual, index, count, aligned):"]
    if any(isinstance(name, str) and name not in _GRADIENT for name in arguments):
        lines.append("    p, q, r, s = residual4(residual, index, count, aligned)")
    results = []
    for gradient, other in zip("abcd", "pqrs", strict=True):
        places = {name: gradient if name in _GRADIENT else other for name in arguments if isinstance(name, str)}
        results.append(f"_netspec_cast(f0({_words(scope, 0, arguments, places)}))")
    return _defined("epilogue", [*lines, f"    return {', '.join(results)}"], scope)


@device
def residual4(array: Any, index: Any, count: Any, aligned: Any) -> Any:
    """A float4 of the residual, of which ``count`` elements are valid."""
    if aligned:
        return load4(array, index)  # type: ignore[operator]
    a, b = array[index], array[index + 1] if count > 1 else array[index]
    c, d = array[index + 2] if count > 2 else a, array[index + 3] if count > 3 else a
    return a, b, c, d


@device
def operand4(array: Any, index: Any, count: Any, aligned: Any) -> Any:
    """What ``residual4`` gives, of an array of any axes."""
    if aligned:
        return load4(array, index)  # type: ignore[operator]
    flat = array.flat
    a, b = flat[index], flat[index + 1] if count > 1 else flat[index]
    c, d = flat[index + 2] if count > 2 else a, flat[index + 3] if count > 3 else a
    return a, b, c, d


@device
def store_operand4(array: Any, index: Any, count: Any, aligned: Any, a: Any, b: Any, c: Any, d: Any) -> None:
    """Store the first ``count`` of four elements in an array of any axes."""
    if aligned:
        store4(array, index, a, b, c, d)  # type: ignore[operator]
        return
    flat = array.flat
    flat[index] = a
    if count > 1:
        flat[index + 1] = b
    if count > 2:
        flat[index + 2] = c
    if count > 3:
        flat[index + 3] = d


def _words(scope: dict[str, Any], number: int, arguments: Sequence[Argument], places: Mapping[Any, str]) -> str:
    words = []
    for place, each in enumerate(arguments):
        if isinstance(each, str):
            words.append(places[each])
        else:
            scope[f"a{number}_{place}"] = each[1]
            words.append(f"a{number}_{place}")
    return ", ".join(words)


def _defined(name: str, lines: Sequence[str], scope: dict[str, Any]) -> Callable[..., Any]:
    source = "\n".join(lines)
    scope["__name__"] = __name__
    exec(source, scope)  # the text is made of this module's words only
    function = device(scope[name])
    function.__netspec_source__ = source  # type: ignore[attr-defined]
    return function
