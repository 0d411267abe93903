"""Cases beyond a layer's examples: other attributes, odd sizes and large ones, as far as the shape rule takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from netspec.check.subject import Case
from netspec.contract.kernel import DEFAULT_BLOCK
from netspec.contract.tensor import Shape
from netspec.contract.values import fits

_ODD: tuple[Shape, ...] = ((0, 0, 0, 1), (1, 1, 2, 3))
"""What is added to the axes of images, the last ones of these to those of rows."""
_OPERATIONS = 2**22
"""Of one direction, at most: as many as a plain kernel does in some hundredths of a second."""
_LARGE = DEFAULT_BLOCK + 77
"""Elements of the largest tensor, where the operations allow it: more than a block of a flat pass."""

_IMAGES = 512


def altered(cases: Sequence[Case]) -> Iterator[Case]:
    """Cases with one attribute changed: a word or truth value that none has, a number where all have the same."""
    for name, schema in cases[0].cls.attrs_schema.items():
        seen = [case.attrs[name] for case in cases]
        for value in _others(schema, seen):
            changed = (replace(case, attrs={**case.attrs, name: value}) for case in cases)
            yield from [case for case in changed if case.fits()][:1]


def odd(case: Case) -> Iterator[Case]:
    """The case with sizes that are multiples of nothing."""
    for more in _ODD:
        changed = case.reshaped(partial(_plus, more))
        if changed.fits():
            yield changed


def large(case: Case) -> Iterator[Case]:
    """The case with a large batch, with large images and with many channels."""
    for grow in (_more_images, _larger_images, _more_channels):
        if (changed := _grown(case, grow)) is not None:
            yield changed


def _others(schema: Mapping[str, Any], seen: Sequence[Any]) -> list[Any]:
    """Values that the schema takes, beside those that were seen."""
    value, kind, alike = seen[0], schema.get("type"), all(one == seen[0] for one in seen)
    found: list[Any] = list(schema.get("enum", [False, True] if kind == "boolean" else []))
    if alike and kind == "integer" and isinstance(value, int):
        found = [value + 1, value + 2]
    if alike and kind == "number" and isinstance(value, float | int):
        low, high = (schema.get(key, schema.get(f"exclusive{key.title()}")) for key in ("minimum", "maximum"))
        found = [value * 1.5 + 0.25 if high is None else ((low or 0) + high + 2 * value) / 4]
    return [one for one in found if one not in seen and fits(schema, one)]


def _plus(more: Shape, shape: Shape) -> Shape:
    if len(shape) < 2:  # labels
        return tuple(n + more[0] for n in shape)
    return tuple(n + by for n, by in zip(shape, (more[0], *more[1 - len(shape) :]), strict=len(shape) <= 4))


def _grown(case: Case, grow: Callable[[int, Shape], Shape]) -> Case | None:
    """The case with sizes times a power of two, as large as the limits allow."""
    found = None
    for factor in (2**power for power in range(2, 18)):
        other = case.reshaped(partial(grow, factor))
        if other in (case, found) or not other.fits() or not _is_within(other):
            return found
        found = other
        if _size(other) >= _LARGE:
            return found
    return found


def _is_within(case: Case) -> bool:
    layer = case.layer()
    t = layer.tensors(case.given("train"))
    flops = layer.flops(t)
    return max(flops.forward, flops.d_inputs, flops.d_params) <= _OPERATIONS and _size(case) <= 4 * _LARGE


def _size(case: Case) -> int:
    t = case.layer().tensors(case.given("train"))
    return max(t[name].size for name in t.roles)


def _more_images(factor: int, shape: Shape) -> Shape:
    return (min(shape[0] * factor, _IMAGES), *shape[1:])


def _larger_images(factor: int, shape: Shape) -> Shape:
    return (shape[0], *(n * factor for n in shape[1:-1]), shape[-1]) if len(shape) > 2 else shape


def _more_channels(factor: int, shape: Shape) -> Shape:
    return (*shape[:-1], shape[-1] * factor) if len(shape) > 1 else shape
