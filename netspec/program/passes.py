"""Lowering one layer's kernels to passes: every parameter of a kernel is traced to a step argument or to a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from math import prod
from typing import Any

from netspec.contract.borrowed import lent
from netspec.contract.kernel import RESIDUAL, Backend, Direction, Kernel
from netspec.contract.layer import Layer, Tensors
from netspec.contract.naming import Argument, argument, check_names
from netspec.contract.source_place import place_of
from netspec.contract.tensor import Tensor, Workspace
from netspec.contract.tensor_map import TensorMap
from netspec.errors import NetspecError
from netspec.planning.plan import Pass

KEYS = ("key", "channel_offset", "channel_count")
"""Numbers that the step's attributes give."""
_OFFSET = "channel_offset"
Given = tuple[Tensors, Mapping[str, Any]]
"""The tensors by whose sizes kernels are launched, and the numbers that they may ask for."""
Held = tuple[Mapping[str, Workspace], Mapping[str, Tensor]]
"""A variant's workspace, and all arrays that its kernels may ask for."""


def lower(
    layer: Layer,
    t: Tensors,
    backend: Backend,
    direction: Direction,
    variant: str,
    keys: Mapping[str, int | str],
    dtype: str = "float32",
    per_replica: int = 0,
) -> tuple[Pass, ...]:
    """All passes of one direction of one shard, in order; ``each`` kernels once an input."""

    @cache
    def given(borrowed: bool, index: int | None) -> Given:
        source, sizes = lent(layer, t, direction) if borrowed else (layer, t)
        return sizes, {**_attributes(source), **source.scalars(sizes, index), **keys}

    @cache
    def held(variant: str) -> Held:
        return layer.workspace(t, variant, direction), arrays_of(layer, t, variant, direction)

    made = [
        _lower(_Scope(layer, t, kernel, held(kernel.variant), index), given(kernel.borrowed, index), dtype)
        for kernel in layer.passes(backend, direction, variant)
        for index in (range(len(t.inputs)) if kernel.each else (None,))
    ]
    if not per_replica:
        return tuple(made)
    return tuple(replace(one, per_replica=per_replica) if _OFFSET in one.scalars else one for one in made)


def arrays_of(layer: Layer, t: Tensors, variant: str, direction: Direction) -> dict[str, Tensor]:
    """All that kernels of a variant may ask for: the layer's tensors and workspace. Raises LayerError for a clash."""
    spaces = layer.workspace(t, variant, direction)
    check_names(layer.type, t.roles, spaces)
    return {name: t[name] for name in t.roles} | {name: Tensor(one.shape, one.dtype) for name, one in spaces.items()}


def _lower(scope: _Scope, given: Given, dtype: str) -> Pass:
    layer, t, kernel = scope.layer, scope.t, scope.kernel
    maps = dict(kernel.maps(t)) if kernel.maps else {}
    sizes, numbers = given[0], {**given[1], **maps}
    args = tuple((name, scope.parameter(name, numbers)) for name in kernel.args)
    for name, one in maps.items():
        scope.check_map(name, one, dict(args))
    place = scope.array(kernel.over, f"over='{kernel.over}'")
    over = scope.arrays[place.tensor]
    extent = over.size if kernel.axes is None else prod(over.shape[axis] for axis in kernel.axes)
    block = kernel.block(sizes) if callable(kernel.block) else kernel.block
    threads = (kernel.threads,) if isinstance(kernel.threads, int) else kernel.threads
    grid = tuple(kernel.grid(sizes)) if kernel.grid else (-(-extent // (prod(threads) * kernel.per_thread)),)
    return Pass(
        kernel=f"{layer.type}:{kernel.function.__name__}",
        variant=kernel.variant,
        args=args,
        scalars={name: numbers[name] for name, target in args if target is None and name not in maps},
        writes=tuple(scope.array(name, f"writes='{name}'") for name in kernel.writes),
        extent=extent,
        block=min(block, extent),
        grid=grid,
        threads=threads,
        flat=tuple(one for _, one in args if one is not None and scope.is_flat(one, over)),
        per_member=tuple(Argument(name) for name, space in scope.spaces.items() if space.per == "member"),
        host=kernel.host,
        dtype=dtype,
        over=place,
        axes=kernel.axes,
        shared=kernel.shared(sizes) if callable(kernel.shared) else kernel.shared,
        maps=maps,
    )


class _Scope:
    """What the parameters of one kernel may stand for; ``index`` is the input's number in an ``each`` pass."""

    def __init__(self, layer: Layer, t: Tensors, kernel: Kernel, held: Held, index: int | None) -> None:
        self.layer, self.t, self.kernel = layer, t, kernel
        self.spaces, self.arrays = held
        self.current = None if index is None else t.names("input")[index]

    def parameter(self, name: str, numbers: Mapping[str, Any]) -> Argument | None:
        """What a parameter takes; None for a number."""
        if name in numbers and name not in self.arrays:
            return None
        return self.array(self.kernel.writes[0] if name == RESIDUAL else name, f"parameter '{name}'")

    def array(self, name: str, what: str) -> Argument:
        """The array of that name."""
        found = argument(name, self.t.roles, self.spaces, self.kernel.each, self.current)
        if found is None:
            names = ", ".join(sorted(self.arrays))
            raise NetspecError(
                f"{place_of(self.kernel.function, name)}: {self.kernel.function.__qualname__}: {what} is no tensor, "
                f"attribute or scalar of layer type '{self.layer.type}' (tensors: {names})"
            )
        return found

    def check_map(self, name: str, one: TensorMap, args: Mapping[str, Argument | None]) -> None:
        """NetspecError where a tensor map, or the array that it describes, is no parameter of the kernel."""
        what = f"maps='{name}'" if name not in args else f"the array '{one.array}' of the tensor map '{name}'"
        if name not in args or args.get(one.array) is None:
            place = place_of(self.kernel.function)
            raise NetspecError(f"{place}: {self.kernel.function.__qualname__}: {what} is no parameter of the kernel")

    def is_flat(self, one: Argument, over: Tensor) -> bool:
        """Whether the kernel gets it as one axis."""
        if self.kernel.linear:
            return True
        return self.kernel.flat and one.tensor in self.arrays and self.arrays[one.tensor].shape == over.shape


def _attributes(layer: Layer) -> dict[str, Any]:
    """Attributes that are numbers; those declared as real numbers are real even where written as whole ones."""
    numbers = {}
    for name, value in vars(layer.attrs).items():
        if isinstance(value, bool | int | float):
            real = layer.attrs_schema.get(name, {}).get("type") == "number"
            numbers[name] = float(value) if real else value
    return numbers

