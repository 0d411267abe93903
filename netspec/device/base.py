"""What every kind of device can do. Arrays are numpy arrays on CPUs and numba.cuda device arrays on GPUs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from netspec.contract.kernel import Backend
from netspec.contract.tensor import Shape
from netspec.plan.model import Pass, Queue

Array = Any
Call = Callable[[], None]
"""A bound step or pass: runs, or on GPUs enqueues, the work."""


class Device(Protocol):
    """Holds buffers and runs kernels; one compute and one copy queue."""

    name: str
    """``cpu:0``, ``cuda:1``: what it is bound to."""
    kind: Backend
    team_size: int
    """Members of a CPU team; 1 on GPUs."""

    def empty(self, shape: Shape, dtype: str) -> Array:
        """A new C-contiguous array; MemoryError, naming bytes asked and free, where there is no room."""

    def arena(self, nbytes: int) -> Array:
        """A block of bytes from which ``carve`` takes arrays, aligned to 256 bytes."""

    def carve(self, arena: Array, offset: int, shape: Shape, dtype: str) -> Array:
        """The array that lies at a byte offset of an arena."""

    def upload(self, array: Array, values: np.ndarray[Any, Any]) -> None:
        """Copy host values into an array; finished on return."""

    def download(self, array: Array) -> np.ndarray[Any, Any]:
        """The array's values on the host, after all work enqueued so far."""

    def slice(self, array: Array, axis: int, start: int, stop: int) -> Array:
        """A view of ``[start, stop)`` along an axis."""

    def bind(self, passes: Sequence[Pass], arrays: Mapping[str, Array], queue: Queue = "compute") -> Call:
        """Compile the passes' kernels for these arrays; the call runs them one after the other.

        ``arrays`` maps step arguments and workspace names; workspace kept per member has a leading axis for members.
        """

    def copier(self, target: Array, source: Array, source_device: Device, queue: Queue) -> Call:
        """A call that copies an array, possibly from another device, into one of the same shape."""

    def close(self) -> None:
        """Give back threads, streams and memory."""
