"""Kernel arguments of a pass: arrays reshaped as it asks, numbers in the compute dtype, tensor maps; their bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from netspec.contract.naming import Argument
from netspec.contract.tensor_map import TensorMap
from netspec.device.base import Array, Arrays
from netspec.device.kernel_scalars import scalar
from netspec.errors import NetspecError
from netspec.kernels.frontend import is_mlir
from netspec.planning.plan import Pass

Describe = Callable[[TensorMap, Array], Array]
"""Gives an array of the device that holds the encoded map of one of its arrays; ValueError for what no map can say."""


def arguments(one: Pass, arrays: Arrays, describe: Describe) -> tuple[Any, ...]:
    """The values of a pass's arguments, in the kernel's order.

    Raises NetspecError, which names kernel and parameter, for a tensor map that there cannot be.
    """
    return tuple(_value(one, name, target, arrays, describe) for name, target in one.args)


def _value(one: Pass, name: str, target: Argument | None, arrays: Arrays, describe: Describe) -> Any:
    if target is not None:
        return _array(one, arrays, target)
    if name in one.maps:
        return _map(one, name, arrays, describe)
    return scalar(name, one.scalars[name], one.dtype)


def _array(one: Pass, arrays: Arrays, target: Argument) -> Array:
    array = arrays[target]
    if target in one.per_member:
        array = array.reshape(tuple(array.shape[1:]))  # a GPU has one member
    return array.reshape((array.size,)) if target in one.flat else array


def _map(one: Pass, name: str, arrays: Arrays, describe: Describe) -> Array:
    target = dict(one.args)[one.maps[name].array]
    assert target is not None
    try:
        return describe(one.maps[name], arrays[target])
    except ValueError as error:
        raise NetspecError(f"{one.kernel}: the tensor map '{name}': {error}") from error


def flattened(value: Any) -> Iterator[bytes]:
    """A kernel's argument as numba-cuda's kernels take it, one parameter of PTX after the other.

    An array is its struct's seven kinds of field: meminfo, parent, items, item size, data, shape, strides in bytes.
    Of numba-cuda-mlir it is MLIR's memref: data twice, an offset, shape, strides in elements.
    """
    if isinstance(value, tuple):
        for part in value:
            yield from flattened(part)
    elif isinstance(value, bool | int | float | np.generic):
        yield np.asarray(value).tobytes()
    else:
        place, size = address(value), value.dtype.itemsize
        words = (0, 0, value.size, size, place, *value.shape, *value.strides)
        if is_mlir():
            words = (place, place, 0, *value.shape, *(stride // size for stride in value.strides))
        yield from (struct.pack("<q", word) for word in words)


def address(array: Array) -> int:
    """Where an array begins, in the host's memory or a card's."""
    if isinstance(array, np.ndarray):
        return int(array.ctypes.data)
    return int(array.__cuda_array_interface__["data"][0])
