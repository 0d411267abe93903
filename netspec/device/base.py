"""The protocol of devices. Arrays are numpy arrays on CPUs and numba.cuda device arrays on GPUs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from netspec.contract.kernel import Backend
from netspec.contract.naming import Argument
from netspec.contract.tensor import Shape
from netspec.contract.variant import Capability
from netspec.planning.plan import Pass, Queue

Array = Any
Arrays = Mapping[Argument, Array]
"""What a step's arguments are, workspace included."""
Call = Callable[[], None]
"""A bound step or pass: runs, or on GPUs enqueues, the work."""
Event = Any
"""A place in a queue that other queues can wait for; made by ``Device.event``, recorded as often as one likes."""
Lane = Queue | Literal["upload"]
"""A queue of a device: the plan's two, and one for what comes up beside an iteration, the next one's images."""


class Device(Protocol):
    """Holds buffers and runs kernels; a queue for computing, one for copies and one for uploads.

    CPU devices work in the caller's thread: a call has finished when it returns, so their events and ``synchronise``
    have nothing to do and queues are whatever threads the runner makes. GPU devices enqueue: work of one queue runs in
    order, work of two queues (or devices) is ordered by events alone. One thread at a time may use a device.
    """

    name: str
    """``cpu:0``, ``cuda:1``: what it is bound to."""
    kind: Backend
    team_size: int
    """Members of a CPU team; 1 on GPUs."""
    enqueues: bool
    """Whether calls only enqueue their work and return, as on GPUs."""
    @property
    def capability(self) -> Capability | None:
        """A GPU's compute capability; on CPUs the unit for bfloat16, None where they store none."""

    read_beside: bool
    """Whether another thread may download what no work under way writes."""

    def empty(self, shape: Shape, dtype: str) -> Array:
        """A new C-contiguous array; NetspecError, naming bytes asked and free, where there is no room."""

    def arena(self, nbytes: int) -> Array:
        """A block of bytes from which ``carve`` takes arrays, aligned to 256 bytes; raises as ``empty`` does."""

    def staging(self, shape: Shape, dtype: str) -> np.ndarray[Any, Any]:
        """A numpy array in host memory that copies to and from this device fastest (page-locked for GPUs)."""

    def carve(self, arena: Array, offset: int, shape: Shape, dtype: str) -> Array:
        """The array that lies at a byte offset of an arena."""

    def upload(self, array: Array, values: np.ndarray[Any, Any]) -> None:
        """Copy host values into an array, rounded to its dtype; finished on return."""

    def download(self, array: Array, into: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, Any]:
        """The array's values on the host, after all work enqueued so far; ``into`` may be a slice along an axis.

        bfloat16 comes as float32; ``into`` may have either dtype.
        """

    def slice(self, array: Array, axis: int, start: int, stop: int) -> Array:
        """A view of ``[start, stop)`` along an axis."""

    def bind(self, passes: Sequence[Pass], arrays: Arrays, queue: Queue = "compute") -> Call:
        """Compile the passes' kernels for these arrays; the call runs them one after the other.

        Workspace kept per member has a leading axis for members.
        """

    def copier(self, target: Array, source: Array, source_device: Device | None, queue: Lane) -> Call:
        """A call that copies an array into one of the same shape and dtype, as work of this device's queue.

        Either may be a slice. The source may lie on another device of the same kind, or be an array from ``staging``
        (``source_device`` None), which must keep its values until the copy is done; the target is this device's own,
        or one from ``staging``.
        """

    def event(self, timing: bool = False) -> Event:
        """A new event of this device; with ``timing``, ``seconds`` can be asked of it."""

    def record(self, event: Event, queue: Lane) -> None:
        """Record the event behind all that is in the queue."""

    def wait(self, event: Event, queue: Lane) -> None:
        """Make later work of the queue wait for the event, of any device, as last recorded."""

    def reached(self, event: Event) -> bool:
        """Whether the event has come, without waiting; NetspecError where work on the device failed."""

    def seconds(self, first: Event, last: Event) -> float:
        """The time between two events with ``timing`` that have come."""

    def synchronise(self) -> None:
        """Wait on the host for all queues; NetspecError where work on the device failed."""

    def capture(self, call: Call) -> Call:
        """A call that repeats the work that ``call`` enqueues, at less cost where the device can record it.

        Everything must have run once before. ``call`` starts on this device's compute queue; other queues and devices
        take part by waiting for an event recorded there, and this compute queue must wait for them at the end. It may
        neither upload, download nor synchronise, nor wait for what was recorded before. Nothing is run. Raises
        NetspecError where the device cannot record it; it can then still be run.
        """

    def adopt(self) -> None:
        """Keep the calling thread, which will run this device's calls, near the device's memory."""

    def abandon(self) -> None:
        """Give the device up: work in flight is taken never to end, and nothing waits for it from now on.

        ``synchronise`` and ``download`` raise NetspecError, memory stays taken until the process ends.
        """

    def close(self) -> None:
        """Give back threads, streams and memory; work that is still under way is not waited for."""
