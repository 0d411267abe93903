"""What kernels with checked indices call, see netspec.kernels.index_checks."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import overload

_OF_ONE_AXIS = (types.UniTuple, types.NumpyFlatType)


def index(array: Any, place: Any, axis: Any, site: Any) -> Any:
    """A computed index as it is; raises IndexError(site, place, axis, size) where it lies outside the axis."""
    raise NotImplementedError  # an overload's Python face, which is never called


def within(array: Any, place: Any, axis: Any, site: Any) -> Any:
    """The array as it is; raises IndexError(site, place, axis, size) where a literal index lies outside of it."""
    raise NotImplementedError


@overload(index)  # type: ignore[untyped-decorator]
def _index(array: Any, place: Any, axis: Any, site: Any) -> Any:
    def in_array(array: Any, place: Any, axis: Any, site: Any) -> Any:
        if place < 0 or place >= array.shape[axis]:
            raise IndexError(site, place, axis, array.shape[axis])
        return place

    def in_row(array: Any, place: Any, axis: Any, site: Any) -> Any:
        if place < 0 or place >= len(array):
            raise IndexError(site, place, axis, len(array))
        return place

    def unchecked(array: Any, place: Any, axis: Any, site: Any) -> Any:
        return place

    if not isinstance(place, types.Integer):
        return unchecked
    return in_array if isinstance(array, types.Array) else in_row if isinstance(array, _OF_ONE_AXIS) else unchecked


@overload(within)  # type: ignore[untyped-decorator]
def _within(array: Any, place: Any, axis: Any, site: Any) -> Any:
    def checked(array: Any, place: Any, axis: Any, site: Any) -> Any:
        if place < -array.shape[axis] or place >= array.shape[axis]:
            raise IndexError(site, place, axis, array.shape[axis])
        return array

    def unchecked(array: Any, place: Any, axis: Any, site: Any) -> Any:
        return array

    return checked if isinstance(array, types.Array) else unchecked
