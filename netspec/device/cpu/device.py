"""The CPU device: numpy arrays, numba kernels, a team of threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from netspec.contract.kernel import Backend
from netspec.contract.naming import Argument
from netspec.contract.tensor import Shape
from netspec.contract.variant import Capability
from netspec.device.base import Arrays, Call, Device, Lane
from netspec.device.cpu.bfloat16_unit import cpu_bfloat16
from netspec.device.cpu.ops import CpuOps
from netspec.device.cpu.pages import populate
from netspec.device.cpu.team import Job, Tail, Team
from netspec.device.kernel_scalars import scalar
from netspec.device.synchronous import Array, SynchronousDevice, nbytes_of
from netspec.errors import NetspecError
from netspec.kernels.cpu import Entry, compile_cpu, compile_host, is_bfloat16, type_of
from netspec.kernels.lookup import find_kernel
from netspec.kernels.parallel import Work, compile_ahead
from netspec.machine.environment import refuse_uncompiled
from netspec.machine.topology import Cores, stay
from netspec.planning.plan import Pass, Queue
from netspec.units import size

_ALIGNMENT = 64


class CpuDevice(SynchronousDevice):
    """``cpu:N``: a share of the cores."""

    kind: Backend = "cpu"
    read_beside = True
    checked = False
    """Whether kernels check each index."""

    def __init__(self, index: int, team_size: int = 1, cores: Cores = ()) -> None:
        """``cores``, where there are any, are those that its threads keep to.

        Raises NetspecError where numba is told not to compile.
        """
        refuse_uncompiled()
        self.name = f"cpu:{index}"
        self.team_size, self._cores = team_size, cores
        self._team = Team(team_size, f"netspec-{self.name}-team", cores)

    @property
    def capability(self) -> Capability | None:
        """See Device."""
        return cpu_bfloat16()

    def empty(self, shape: Shape, dtype: str) -> Array:
        """See Device."""
        return self.carve(self.arena(nbytes_of(shape, dtype)), 0, shape, dtype)

    def arena(self, nbytes: int) -> Array:
        """See Device."""
        try:
            raw = np.empty(nbytes + _ALIGNMENT, np.uint8)
        except MemoryError as error:
            raise NetspecError(
                f"{self.name}: no room for {size(nbytes)} of host memory; a smaller batch (--batch) needs less"
            ) from error
        populate(raw, self._cores)
        start = -raw.ctypes.data % _ALIGNMENT
        return raw[start : start + nbytes]

    def staging(self, shape: Shape, dtype: str) -> Array:
        """See Device."""
        return self.empty(shape, dtype)

    def upload(self, array: Array, values: Array) -> None:
        """See Device."""
        np.copyto(array, values)

    def bind(self, passes: Sequence[Pass], arrays: Arrays, queue: Queue = "compute") -> Call:
        """See Device."""
        jobs = [self._job(one, arrays) for one in passes]
        team = self._team

        def call() -> None:
            for job in jobs:
                team.run(job)

        return call

    def copier(self, target: Array, source: Array, source_device: Device | None, queue: Lane) -> Call:
        """See Device; source_device must be a CPU."""
        return lambda: np.copyto(target, source)

    def adopt(self) -> None:
        """See Device."""
        stay(self._cores)

    def close(self) -> None:
        """See Device."""
        self._team.close()

    def _job(self, one: Pass, arrays: Arrays) -> Job:
        blocks = [(start, min(start + one.block, one.extent)) for start in range(0, one.extent, one.block)]
        then = [Tail(*self._call(tail, arrays), tail.extent // one.extent) for tail in one.then]
        function, arguments = self._call(one, arrays)
        return Job(function, blocks, arguments, then)

    def _call(self, one: Pass, arrays: Arrays) -> tuple[Callable[..., Any], list[tuple[Any, ...]]]:
        """A pass's compiled function and its arguments for each member."""
        kernel = find_kernel(one.kernel)
        arguments = [self._arguments(one, arrays, member) for member in range(self.team_size)]
        if one.host:
            host = compile_host(kernel.function, one.dtype)
            return lambda start, stop, *args: host(CpuOps, start, stop, *args), arguments
        function = compile_cpu(kernel.function, one.dtype, self.checked)
        signature = _signature(arguments[0])
        compile_ahead(Work(one.kernel, one.dtype, function, signature))
        return (Entry(function, signature) if any(map(is_bfloat16, arguments[0])) else function), arguments

    def _arguments(self, one: Pass, arrays: Arrays, member: int) -> tuple[Any, ...]:
        return tuple(
            scalar(name, one.scalars[name], one.dtype) if target is None else _array(one, arrays, target, member)
            for name, target in one.args
        )


def _array(one: Pass, arrays: Arrays, target: Argument, member: int) -> Array:
    array: Array = arrays[target]
    if target in one.per_member:
        array = array[member]
    return array.reshape(-1) if target in one.flat else array


def _signature(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """numba's types of a kernel's arguments, start and stop before them."""
    return (*(type_of(0),) * 2, *map(type_of, arguments))
