"""Kernel arguments of a pass: arrays reshaped as it asks, scalars in the compute dtype."""

from __future__ import annotations

from typing import Any

from netspec.contract.naming import Argument
from netspec.device.base import Array, Arrays
from netspec.device.kernel_scalars import scalar
from netspec.planning.plan import Pass


def arguments(one: Pass, arrays: Arrays) -> tuple[Any, ...]:
    """The values of a pass's arguments, in the kernel's order."""
    return tuple(
        scalar(name, one.scalars[name], one.dtype) if target is None else _array(one, arrays, target)
        for name, target in one.args
    )


def _array(one: Pass, arrays: Arrays, target: Argument) -> Array:
    array = arrays[target]
    if target in one.per_member:
        array = array.reshape(tuple(array.shape[1:]))  # a GPU has one member
    return array.reshape((array.size,)) if target in one.flat else array
