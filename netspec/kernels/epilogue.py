"""What elementwise layers become when a GPU kernel stores its results through them: one function of a number."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from netspec.contract.elementwise import Elementwise
from netspec.contract.kernel import device
from netspec.registry import layer_types

Link = tuple[Callable[..., Any], tuple[tuple[type, Any] | None, ...]]
"""A layer's forward function and what it is called with: attributes with their types, None for the number itself."""


def epilogue_of(tails: Sequence[tuple[str, Mapping[str, Any]]]) -> Callable[..., Any] | None:
    """The forward functions of elementwise layers, one after the other, to take ``epilogue``'s place; None for none.

    ``tails`` names their kernels, with their scalars. Attributes are constants of its code. Each result is rounded to
    the compute dtype, as if it had been stored.
    """
    return _chain(tuple(map(_link, tails))) if tails else None


def _link(tail: tuple[str, Mapping[str, Any]]) -> Link:
    kernel, scalars = tail
    layer = cast("type[Elementwise]", layer_types()[kernel.partition(":")[0]])
    values = [scalars.get(name) for name in inspect.signature(layer.scalar_forward).parameters]
    return layer.scalar_forward, tuple(None if value is None else (type(value), value) for value in values)


@functools.cache
def _chain(links: tuple[Link, ...]) -> Callable[..., Any]:
    """A line for each: ``value = f(value, slope)``, with the functions and their attributes as its globals."""
    scope: dict[str, Any] = {"__name__": __name__}
    lines = ["def epilogue(value):", "    value = _netspec_cast(value)"]
    for number, (function, arguments) in enumerate(links):
        words = ["value" if each is None else f"a{number}_{place}" for place, each in enumerate(arguments)]
        scope |= {word: each[1] for word, each in zip(words, arguments, strict=True) if each is not None}
        scope[f"f{number}"] = function
        lines.append(f"    value = _netspec_cast(f{number}({', '.join(words)}))")
    source = "\n".join((*lines, "    return value"))
    exec(source, scope)  # the text is made of this module's words only
    function = device(scope["epilogue"])
    function.__netspec_source__ = source  # type: ignore[attr-defined]
    return function
