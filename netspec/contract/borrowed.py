"""Passes that are another layer's: a backward pass that is its forward pass, a forward pass that is its backward pass.

What is borrowed are plain kernels, as they are: their parameters are given other arrays, under other names, and the
numbers of a layer of the lender's type whose x is this layer's y.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import FunctionType
from typing import TYPE_CHECKING, Any

from netspec.contract.kernel import PHASES, Direction, Kernel, Phase
from netspec.errors import LayerError

if TYPE_CHECKING:
    from netspec.contract.layer import Layer, Tensors

ITSELF = "itself"
_FROM: Mapping[Direction, tuple[Direction, Mapping[str, str], tuple[Phase, ...]]] = {
    "backward": ("forward", {"x": "dy", "y": "d_x"}, ("train",)),
    "forward": ("backward", {"dy": "x", "d_y": "x", "dx": "y", "d_x": "y"}, PHASES),
}
"""Of a borrowed pass: the lender's direction, what its arrays are called here, and the phases."""


def lenders(cls: type[Layer]) -> list[tuple[Direction, type[Layer]]]:
    """The directions whose kernels are another layer's, and that layer. Raises TypeError for what is none."""
    found: list[tuple[Direction, type[Layer]]] = []
    for direction, one in (("backward", cls.backward_as), ("forward", cls.forward_as)):
        lender = cls if one == ITSELF and direction == "backward" else one
        if not isinstance(lender, type | None) or (lender is not None and not hasattr(lender, "kernels")):
            raise TypeError(f"{cls.__name__}: {direction}_as is a class of layers, not {one!r}")
        found += [(direction, lender)] if lender is not None else []  # type: ignore[list-item]
    return found


def borrowed(cls: type[Layer], own: Sequence[Kernel]) -> list[Kernel]:
    """What a class borrows, of which ``own`` are the kernels so far. Raises TypeError where that cannot be lent."""
    return [
        kernel
        for direction, lender in lenders(cls)
        for kernel in _lent_by(lender, own if lender is cls else lender.kernels, direction, cls.__name__)
    ]


def _lent_by(lender: type[Layer], kernels: Sequence[Kernel], direction: Direction, owner: str) -> Iterator[Kernel]:
    """The plain kernels that lead from dy to d_x, or from x to y, as passes of the ``direction``."""
    source, names, phases = _FROM[direction]
    results, others = ({"y"}, {*()}) if source == "forward" else ({"d_x", "dx"}, {"x", "y"})
    found = [one for one in kernels if one.direction == source and one.variant == "plain" and results & {*one.writes}]
    if not found:
        raise TypeError(f"{owner}: {lender.__name__} has no plain {source} pass that could be its {direction} pass")
    for one in found:
        if one.when or one.each or len(one.writes) > 1 or others & {*one.args}:
            tied = "'when'" if one.when else "'each'" if one.each else "what else it reads or writes"
            raise TypeError(f"{owner}: {one.function.__name__} of {lender.__name__} is tied to that layer by {tied}")
        function = renamed(one.function, names, f"{direction}_{one.function.__name__}")
        over, writes = names.get(one.over, one.over), tuple(names[name] for name in one.writes)
        yield replace(
            one, function=function, direction=direction, over=over, writes=writes, phases=phases, borrowed=True
        )


def renamed(function: Any, names: Mapping[str, str], name: str) -> FunctionType:
    """The function with other names for its parameters; a local variable that has one of these gives way."""
    code, taken = function.__code__, set(names.values())
    count = code.co_argcount
    given = [names.get(one, one) for one in code.co_varnames[:count]]
    local = [f"{one}_" if one in taken else one for one in code.co_varnames[count:]]
    made = code.replace(co_varnames=(*given, *local), co_name=name)
    other = FunctionType(made, function.__globals__, name, function.__defaults__, function.__closure__)
    other.__qualname__ = f"{function.__qualname__.rpartition('.')[0]}.{name}".lstrip(".")
    other.__module__ = function.__module__
    other.__annotations__ = {names.get(key, key): value for key, value in function.__annotations__.items()}
    return other


def lent(layer: Layer, t: Tensors, direction: Direction) -> tuple[Layer, Tensors]:
    """The layer whose kernels run in that direction, and its tensors: its x is this layer's y, its y this one's x.

    Raises LayerError where its shapes are not those.
    """
    lender = dict(lenders(type(layer)))[direction]
    other = lender(layer.other_attrs(), layer.phase)
    theirs = other.own_tensors([t["y"]])
    told = f"the {direction} pass is that of a layer of type '{lender.type}'"
    if theirs.roles.keys() - {"x", "y"} != t.roles.keys() - {"x", "y"}:
        raise LayerError(f"{told}, which has {_listed(theirs)}, and here there are {_listed(t)}")
    for name, mine in (("y", "x"), *((one, one) for one in theirs.names("parameter"))):
        if theirs[name].shape != t[mine].shape:
            made = f"{told}, whose {name} is {list(theirs[name].shape)} for an x of {list(t['y'].shape)}"
            raise LayerError(f"{made}, and {mine} is {list(t[mine].shape)} here")
    return other, theirs


def _listed(t: Tensors) -> str:
    return ", ".join(t.roles)
