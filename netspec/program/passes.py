"""Lowering one layer's kernels to passes: every parameter of a kernel is traced to a step argument or to a number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

from netspec.contract.kernel import BESIDE, Backend, Direction, Kernel
from netspec.contract.layer import Layer, Tensors
from netspec.contract.naming import canonical, tensor_of
from netspec.contract.tensor import Tensor
from netspec.errors import NetspecError
from netspec.planning.plan import Pass

SPECIAL = ("counters", "rates")
"""Step arguments that exist for every layer."""
KEYS = ("key", "channel_offset", "channel_count")
"""Numbers that the step's attributes give."""


def lower(
    layer: Layer,
    t: Tensors,
    backend: Backend,
    direction: Direction,
    variant: str,
    keys: Mapping[str, int | str],
    dtype: str = "float32",
) -> tuple[Pass, ...]:
    """All passes of one direction of one shard, in order; ``each`` kernels once an input."""
    return tuple(
        _lower(layer, t, kernel, backend, index, keys, dtype)
        for kernel in layer.passes(backend, direction, variant)
        for index in _indices(kernel, t)
    )


def _indices(kernel: Kernel, t: Tensors) -> Iterator[int | None]:
    yield from [None] if kernel.each is None else range(len(t.inputs))


def _lower(
    layer: Layer,
    t: Tensors,
    kernel: Kernel,
    backend: Backend,
    index: int | None,
    keys: Mapping[str, int | str],
    dtype: str,
) -> Pass:
    tensors: dict[str, Tensor] = {name: value for name, value in vars(t).items() if isinstance(value, Tensor)}
    spaces = layer.workspace(t, kernel.variant, kernel.direction)
    tensors.update({name: Tensor(space.shape, space.dtype) for name, space in spaces.items()})
    numbers = {**_attributes(layer), **layer.scalars(t, index), **keys}
    args: list[tuple[str, str | None]] = []
    scalars: dict[str, Any] = {}
    for name in kernel.args:
        target = canonical(kernel.writes[0] if name == BESIDE else name, tensors, kernel.each, index)
        if name in numbers and target not in tensors:
            scalars[name] = numbers[name]
            args.append((name, None))
        else:
            _check_known(layer, kernel, f"parameter '{name}'", target, tensors)
            args.append((name, target))
    place = canonical(kernel.over, tensors, kernel.each, index)
    _check_known(layer, kernel, f"over='{kernel.over}'", place, tensors)
    over = tensor_of(place, tensors)
    extent = over.size if kernel.axes is None else prod(over.shape[axis] for axis in kernel.axes)
    block = kernel.block(t) if callable(kernel.block) else kernel.block
    threads = (kernel.threads,) if isinstance(kernel.threads, int) else kernel.threads
    grid = tuple(kernel.grid(t)) if kernel.grid else (-(-extent // (prod(threads) * kernel.per_thread)),)
    flat = [
        a for _, a in args if a is not None and (kernel.linear or (kernel.flat and _same_shape(a, over, tensors)))
    ]
    return Pass(
        kernel=f"{layer.type}:{kernel.function.__name__}",
        variant=kernel.variant,
        args=tuple(args),
        scalars=scalars,
        writes=tuple(canonical(name, tensors, kernel.each, index) for name in kernel.writes),
        extent=extent,
        block=min(block, extent),
        grid=grid,
        threads=threads,
        flat=tuple(flat),
        per_member=tuple(name for name, space in spaces.items() if space.per == "member"),
        host=kernel.host,
        dtype=dtype,
        over=place,
        axes=kernel.axes,
    )


def _attributes(layer: Layer) -> dict[str, Any]:
    """Attributes that are numbers; those declared as real numbers are real even where written as whole ones."""
    numbers = {}
    for name, value in vars(layer.attrs).items():
        if isinstance(value, bool | int | float):
            real = layer.attrs_schema.get(name, {}).get("type") == "number"
            numbers[name] = float(value) if real else value
    return numbers


def _same_shape(name: str, over: Tensor, tensors: Mapping[str, Tensor]) -> bool:
    try:
        return tensor_of(name, tensors).shape == over.shape
    except KeyError:
        return False


def _check_known(layer: Layer, kernel: Kernel, what: str, target: str, tensors: Mapping[str, Tensor]) -> None:
    if target in SPECIAL or _known(target, tensors):
        return
    names = ", ".join(sorted(tensors))
    raise NetspecError(
        f"{kernel.name}: {what} is no tensor, attribute or scalar of layer type '{layer.type}' (tensors: {names})"
    )


def _known(name: str, tensors: Mapping[str, Tensor]) -> bool:
    try:
        tensor_of(name, tensors)
    except KeyError:
        return False
    return True
