"""Which tensors the kernels of a layer name, over all backends and variants: what a step of it reads and writes."""

from __future__ import annotations

import functools
from typing import Any

from netspec.contract.kernel import Direction, Phase
from netspec.contract.layer import Layer
from netspec.contract.naming import Argument, argument
from netspec.planning.shards import Shard

Names = tuple[tuple[Argument, ...], tuple[Argument, ...]]


def named(shard: Shard, direction: Direction) -> Names:
    """What the direction's kernels read and write, over all backends and variants."""
    layer, cls = shard.layer, type(shard.layer)
    conditions = layer.conditions
    deciding = _deciding(cls, direction)  # type: ignore[arg-type]  # a class can be hashed
    chosen = tuple((key, conditions[key]) for key in deciding)
    applying = _applying(cls, direction, layer.phase, chosen)  # type: ignore[arg-type]
    return _named(cls, applying, tuple(shard.t.roles), shard.t.names("input"))  # type: ignore[arg-type]  # a class can be hashed


@functools.cache
def _deciding(cls: type[Layer], direction: Direction) -> tuple[str, ...]:
    """The conditions by which kernels of the class say whether they apply."""
    return tuple(dict.fromkeys(key for one in cls.kernels if one.direction == direction for key in one.when))


@functools.cache
def _applying(
    cls: type[Layer], direction: Direction, phase: Phase, conditions: tuple[tuple[str, Any], ...]
) -> tuple[int, ...]:
    """Numbers of the kernels that run under these conditions."""
    kernels = enumerate(cls.kernels)
    return tuple(n for n, one in kernels if one.direction == direction and one.applies(dict(conditions), phase))


@functools.cache
def _named(cls: type[Layer], applying: tuple[int, ...], tensors: tuple[str, ...], inputs: tuple[str, ...]) -> Names:
    reads: dict[Argument, None] = {}
    writes: dict[Argument, None] = {}
    for kernel in (cls.kernels[number] for number in applying):
        for current in inputs if kernel.each else (None,):
            for target, group in ((reads, kernel.args), (writes, kernel.writes)):
                found = (argument(name, tensors, (), kernel.each, current) for name in group)
                target.update(dict.fromkeys(one for one in found if one is not None))
    return tuple(one for one in reads if one not in writes), tuple(writes)
