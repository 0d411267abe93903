"""The GPU device: one plain allocation an arena, a stream for each queue, kernels compiled by numba.cuda."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from netspec.contract.kernel import Backend
from netspec.contract.tensor import Shape
from netspec.contract.tensor_map import TensorMap
from netspec.device.base import Arrays, Call, Device, Event, Lane
from netspec.device.cuda import deferred_free, driver, tensor_maps
from netspec.device.cuda.arguments import arguments
from netspec.device.cuda.kernel_launch import Launch
from netspec.device.cuda.ops import CudaOps
from netspec.device.dtypes import numpy_dtype, widened
from netspec.device.synchronous import nbytes_of
from netspec.errors import NetspecError
from netspec.kernels import numba_cuda
from netspec.kernels.cuda import compile_cuda, compile_host
from netspec.kernels.epilogue import epilogue_of
from netspec.kernels.lookup import find_kernel
from netspec.kernels.numba_cuda import cuda
from netspec.kernels.parallel import Work, compile_ahead
from netspec.kernels.toolkit import finds_compiler
from netspec.planning.plan import Pass, Queue
from netspec.units import size

Array = Any
Host = np.ndarray[Any, Any]
ALIGNMENT = 256
"""Bytes; what the driver's allocations are aligned to, and what 128-bit accesses and copies like best."""
_OUT_OF_MEMORY = 2
_AWAY = "away"
"""The queue in which a card's memory is read for another one that does not reach it."""


class CudaDevice:
    """``cuda:N``: one card, or a share of it where two devices of a network are bound to one."""

    kind: Backend = "cuda"
    team_size = 1
    enqueues = True
    read_beside = False

    def __init__(self, index: int) -> None:
        self.name = f"cuda:{index}"
        self.index, self._lost = index, False
        self._card = cuda.gpus[index]
        major, minor = self._card.compute_capability
        self.capability: tuple[int, int] = (major, minor)
        with self._card:
            self._streams: dict[str, Any] = {lane: cuda.stream() for lane in ("compute", "copy", "upload", _AWAY)}
            finds_compiler()  # loads what numba-cuda itself would not look for
            self._handles = {lane: int(stream) for lane, stream in self._streams.items()}
            self._current = driver.Current(self.name, cuda.current_context().handle)
            deferred_free.guard_deallocations(cuda.current_context(), self._current)

    def empty(self, shape: Shape, dtype: str) -> Array:
        """See Device."""
        return self.carve(self.arena(nbytes_of(shape, dtype)), 0, shape, dtype)

    def arena(self, nbytes: int) -> Array:
        """See Device."""
        with self._card:
            try:
                return cuda.device_array(max(nbytes, 1), np.uint8)
            except numba_cuda.driver_error() as error:
                if int(getattr(error, "code", 0)) != _OUT_OF_MEMORY:
                    raise
                raise NetspecError(self._no_room(nbytes)) from error

    def staging(self, shape: Shape, dtype: str) -> Host:
        """See Device."""
        with self._card:
            return cuda.pinned_array(tuple(shape), numpy_dtype(dtype))  # type: ignore[no-any-return]

    def carve(self, arena: Array, offset: int, shape: Shape, dtype: str) -> Array:
        """See Device."""
        with self._card:
            return arena[offset : offset + nbytes_of(shape, dtype)].view(numpy_dtype(dtype)).reshape(tuple(shape))

    def upload(self, array: Array, values: Host) -> None:
        """See Device."""
        host = np.ascontiguousarray(np.broadcast_to(values, tuple(array.shape)), array.dtype)
        self.synchronise()
        self.copier(array, host, None, "compute")()
        self.synchronise()

    def download(self, array: Array, into: Host | None = None) -> Host:
        """See Device."""
        if into is not None and into.dtype != array.dtype:  # bfloat16 into float32
            np.copyto(into, self.download(array))
            return into
        host = np.empty(tuple(array.shape), array.dtype) if into is None else into
        self.synchronise()
        self.copier(host, array, self, "compute")()
        self.synchronise()
        return host if into is not None else widened(host)

    def slice(self, array: Array, axis: int, start: int, stop: int) -> Array:
        """See Device."""
        with self._card:
            return array[(slice(None),) * axis + (slice(start, stop),)]

    def bind(self, passes: Sequence[Pass], arrays: Arrays, queue: Queue = "compute") -> Call:
        """See Device."""
        with self._card:
            calls = [self._launch(one, arrays, queue) for one in passes]
        return _within(self._current, *calls)

    def copier(self, target: Array, source: Array, source_device: Device | None, queue: Lane) -> Call:
        """See Device."""
        if tuple(target.shape) != tuple(source.shape) or target.dtype != source.dtype:
            raise ValueError(f"cannot copy {source.dtype}{source.shape} into {target.dtype}{target.shape}")
        with self._card:
            if not isinstance(source_device, CudaDevice) or self._reaches(source_device):
                return _within(self._current, driver.copier(target, source, self._handles[queue]))
        return self._through_host(target, source, source_device, queue)

    def _through_host(self, target: Array, source: Array, other: CudaDevice, queue: Lane) -> Call:
        """A copy by way of page-locked memory: a card's own queue reads its memory, and this queue waits for it."""
        staging, away = self.staging(tuple(source.shape), str(source.dtype)), other._handles[_AWAY]
        leave = driver.copier(staging, source, away)
        arrive = _within(self._current, driver.copier(target, staging, self._handles[queue]))
        begun, read = self.event(), other.event()

        def call() -> None:
            self.record(begun, queue)
            with other._current:
                driver.wait(begun.handle, away)
                leave()
                driver.record(read.handle, away)
            self.wait(read, queue)
            arrive()

        return call

    def event(self, timing: bool = False) -> Event:
        """See Device."""
        with self._card:
            return cuda.event(timing=timing)

    def record(self, event: Event, queue: Lane) -> None:
        """See Device."""
        with self._current:
            driver.record(event.handle, self._handles[queue])

    def wait(self, event: Event, queue: Lane) -> None:
        """See Device."""
        with self._current:
            driver.wait(event.handle, self._handles[queue])

    def reached(self, event: Event) -> bool:
        """See Device."""
        with self._current:
            return bool(driver.reached(event.handle))

    def seconds(self, first: Event, last: Event) -> float:
        """See Device."""
        with self._current:
            return float(driver.seconds(first.handle, last.handle))

    def synchronise(self) -> None:
        """See Device."""
        if self._lost:
            raise NetspecError(f"{self.name}: work on the card has not ended, so that nothing can be had from it")
        with self._card:
            for stream in self._streams.values():
                try:
                    stream.synchronize()
                except numba_cuda.driver_error() as error:
                    raise NetspecError(f"{self.name}: work on the card failed: {error}") from error

    def capture(self, call: Call) -> Call:
        """See Device."""
        with self._card, deferred_free.no_deallocations():
            replay = driver.capture(call, self._handles["compute"])
        return _within(self._current, replay)

    def adopt(self) -> None:
        """See Device: the driver's pinned memory is as near to all threads."""

    def abandon(self) -> None:
        """See Device."""
        self._lost = True
        deferred_free.stop_deallocations()

    def close(self) -> None:
        """See Device; arrays go when the last reference to them does."""
        self._streams.clear()

    def _reaches(self, other: CudaDevice) -> bool:
        """Whether the driver copies from there straight to this card."""
        return other.index == self.index or driver.allow_peer(self.index, other.index)

    def _no_room(self, nbytes: int) -> str:
        free, total = cuda.current_context().get_memory_info()
        room = f"{size(free)} of {size(total)} are free"
        return f"{self.name}: no room for {size(nbytes)}, {room}; a smaller batch needs less"

    def _launch(self, one: Pass, arrays: Arrays, queue: Queue) -> Call:
        kernel, stream = find_kernel(one.kernel), self._handles[queue]
        values = arguments(one, arrays, self._described)
        if one.host:
            host, ops = compile_host(kernel.function, one.dtype), CudaOps(self.index, stream)
            return lambda: host(ops, 0, one.extent, *values)
        tails = tuple((tail.kernel, tail.scalars) for tail in one.then)
        dispatcher = compile_cuda(kernel.function, one.dtype, epilogue_of(tails), one.bound)
        types = tuple(map(numba_cuda.type_of, values))
        work = Work(one.kernel, one.dtype, dispatcher, types, self.index, tails, one.bound)
        compile_ahead(work)  # a kernel that cannot be compiled is told before the first run
        return Launch(work, one.grid, one.threads, stream, values, one.shared)

    def _described(self, one: TensorMap, array: Array) -> Array:
        return tensor_maps.put(self, one, array, tensor_maps.encode)


def _within(card: Any, *calls: Call) -> Call:
    """The calls one after the other, the card being the current one."""

    def call() -> None:
        with card:
            for one in calls:
                one()

    return call
