"""Calls to the CUDA driver API: strided copies, peer copies, events, graph capture.

numba.cuda copies contiguous arrays only, knows no peers and captures no graphs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import finalize

import numpy as np
from cuda.bindings import driver as cu

from netspec.device.cuda.arguments import address
from netspec.device.cuda.pitch import Pitched, common, pitched
from netspec.errors import NetspecError

Call = Callable[[], None]


class Refused(NetspecError):
    """The driver's own name for what failed."""


def check(result: tuple[Any, ...]) -> Any:
    """The value of a driver call; NetspecError with the driver's own name for what failed."""
    status, *values = result
    if status != cu.CUresult.CUDA_SUCCESS:
        raise Refused(f"the CUDA driver answers {getattr(status, 'name', status)}")
    return values[0] if values else None


@dataclass(frozen=True)
class Copy:
    """A copy to enqueue; it holds its arrays, so that their memory stays while it can still be called."""

    enqueue: Callable[[], tuple[Any, ...]]
    arrays: tuple[Any, Any]

    def __call__(self) -> None:
        """Enqueue it."""
        check(self.enqueue())


def copier(target: Any, source: Any, stream: int) -> Copy:
    """A call that enqueues a copy between two arrays of one shape and dtype: slices, host arrays, other cards alike.

    All memory lies in one address space, so the driver sees from an address where it is. Between two cards it takes
    the direct way where ``allow_peer`` has opened it.
    """
    to, of = common(_layout(target), _layout(source))
    if to.rows == 1 or to.pitch == of.pitch == to.width:
        enqueue = _linear(target, source, to.rows * to.width, stream)
    else:
        enqueue = partial(cu.cuMemcpy2DAsync, _rows(target, source, to, of), stream)
    return Copy(enqueue, (target, source))


class Current:
    """A context manager that makes a card's context current; errors are raised with the card's name."""

    def __init__(self, name: str, context: Any) -> None:
        self._name, self._context = name, context

    def __enter__(self) -> None:
        check(cu.cuCtxPushCurrent(self._context))

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        cu.cuCtxPopCurrent()
        if isinstance(error, Refused):
            raise NetspecError(f"{self._name}: {error}") from error


def record(event: Any, stream: int) -> None:
    """Record an event in the stream."""
    check(cu.cuEventRecord(event, stream))


def wait(event: Any, stream: int) -> None:
    """Make the stream wait for the event."""
    check(cu.cuStreamWaitEvent(stream, event, 0))


def reached(event: Any) -> bool:
    """Whether all work before an event is done; NetspecError where some of it failed."""
    (status,) = cu.cuEventQuery(event)
    return status != cu.CUresult.CUDA_ERROR_NOT_READY and check((status,)) is None


def seconds(first: Any, last: Any) -> float:
    """The time between two events that have come."""
    return float(check(cu.cuEventElapsedTime(first, last))) * 1e-3


def allow_peer(target: int, source: int) -> bool:
    """Let the first card's context reach the second's memory; False where the machine has no direct way."""
    if not check(cu.cuDeviceCanAccessPeer(cu.CUdevice(target), cu.CUdevice(source))):
        return False
    context = check(cu.cuDevicePrimaryCtxRetain(cu.CUdevice(source)))
    (status,) = cu.cuCtxEnablePeerAccess(context, 0)
    if status != cu.CUresult.CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED:
        check((status,))
    return True


@dataclass(frozen=True)
class Replay:
    """A graph to launch in a stream; it holds the call it was made from, and so the memory that the graph works on."""

    executable: Any
    stream: int
    call: Call

    def __post_init__(self) -> None:
        finalize(self, cu.cuGraphExecDestroy, self.executable).atexit = False  # the card's context may be gone by then

    def __call__(self) -> None:
        """Enqueue it."""
        check(cu.cuGraphLaunch(self.executable, self.stream))


def capture(call: Call, stream: int) -> Replay:
    """A call that replays, as one graph launched in the stream, the work that ``call`` enqueues there and beyond."""
    mode = cu.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED  # late frees of numba's must not spoil it
    check(cu.cuStreamBeginCapture(stream, mode))
    try:
        call()
    finally:
        result = cu.cuStreamEndCapture(stream)  # takes every stream that joined out of the capture, whatever happened
    graph = check(result)
    try:
        executable = check(cu.cuGraphInstantiate(graph, 0))
    finally:
        cu.cuGraphDestroy(graph)
    return Replay(executable, stream, call)


def _linear(target: Any, source: Any, nbytes: int, stream: int) -> Callable[[], tuple[Any, ...]]:
    function = cu.cuMemcpyAsync
    if _on_host(source):
        function = cu.cuMemcpyHtoDAsync
    elif _on_host(target):
        function = cu.cuMemcpyDtoHAsync
    return partial(function, address(target), address(source), nbytes, stream)


def _rows(target: Any, source: Any, to: Pitched, of: Pitched) -> Any:
    copy = cu.CUDA_MEMCPY2D()
    copy.WidthInBytes, copy.Height = to.width, to.rows
    copy.dstPitch, copy.srcPitch = to.pitch, of.pitch
    kinds = cu.CUmemorytype
    if _on_host(target):
        copy.dstMemoryType, copy.dstHost = kinds.CU_MEMORYTYPE_HOST, address(target)
    else:
        copy.dstMemoryType, copy.dstDevice = kinds.CU_MEMORYTYPE_DEVICE, cu.CUdeviceptr(address(target))
    if _on_host(source):
        copy.srcMemoryType, copy.srcHost = kinds.CU_MEMORYTYPE_HOST, address(source)
    else:
        copy.srcMemoryType, copy.srcDevice = kinds.CU_MEMORYTYPE_DEVICE, cu.CUdeviceptr(address(source))
    return copy


def _layout(array: Any) -> Pitched:
    return pitched(array.shape, array.strides, array.dtype.itemsize)


def _on_host(array: Any) -> bool:
    return isinstance(array, np.ndarray)
