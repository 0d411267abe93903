"""The base of devices in host memory whose calls have finished when they return."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from netspec.contract.tensor import Shape
from netspec.device.base import Call, Event, Lane
from netspec.device.dtypes import numpy_dtype, widened

Array = np.ndarray[Any, Any]


class SynchronousDevice:
    """The half of Device that needs no queue: arrays are numpy's, events have always come."""

    enqueues = False

    def carve(self, arena: Array, offset: int, shape: Shape, dtype: str) -> Array:
        """See Device."""
        cut: Array = arena[offset : offset + nbytes_of(shape, dtype)].view(numpy_dtype(dtype)).reshape(tuple(shape))
        return cut

    def download(self, array: Array, into: Array | None = None) -> Array:
        """See Device."""
        if into is None:
            return widened(array.copy())
        np.copyto(into, array)
        return into

    def slice(self, array: Array, axis: int, start: int, stop: int) -> Array:
        """See Device."""
        cut: Array = array[(slice(None),) * axis + (slice(start, stop),)]
        return cut

    def event(self, timing: bool = False) -> Event:
        """See Device: nothing is ever under way when a call has returned."""
        return None

    def record(self, event: Event, queue: Lane) -> None:
        """See Device."""

    def wait(self, event: Event, queue: Lane) -> None:
        """See Device."""

    def reached(self, event: Event) -> bool:
        """See Device."""
        return True

    def seconds(self, first: Event, last: Event) -> float:
        """See Device: there is nothing to time."""
        return 0.0

    def synchronise(self) -> None:
        """See Device."""

    def capture(self, call: Call) -> Call:
        """See Device: there is nothing to record."""
        return call

    def adopt(self) -> None:
        """See Device: memory is as near to all threads."""

    def abandon(self) -> None:
        """See Device; what works in this process ends with it, and its values can be had meanwhile."""

    def close(self) -> None:
        """See Device."""


def nbytes_of(shape: Shape, dtype: str) -> int:
    """Bytes of an array."""
    return prod(shape) * numpy_dtype(dtype).itemsize
