"""A CPU device that watches kernels: an index outside its array is told with its line, and so is an allocation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from netspec.device.base import Arrays
from netspec.device.cpu.device import CpuDevice
from netspec.errors import NetspecError
from netspec.kernels.index_checks import outside
from netspec.planning.plan import Pass


class OutOfBounds(NetspecError):
    """A kernel's index lies outside its array."""


class Allocates(NetspecError):
    """A kernel allocates; ``kernel`` is its name in a plan."""

    def __init__(self, kernel: str) -> None:
        super().__init__(f"{kernel} allocates memory")
        self.kernel = kernel


class CheckedCpu(CpuDevice):
    """A team of one; a pass that leaves an array raises OutOfBounds before it does."""

    checked = True

    def _call(self, one: Pass, arrays: Arrays) -> tuple[Callable[..., Any], list[tuple[Any, ...]]]:
        function, arguments = super()._call(one, arrays)
        return (function if one.host else _Watched(one.kernel, function)), arguments


class _Watched:
    """A compiled kernel. For each array of a call numba's runtime makes an object, and none besides."""

    def __init__(self, kernel: str, function: Callable[..., Any]) -> None:
        self.kernel, self.function, self.counted = kernel, function, False

    def __call__(self, *arguments: Any) -> None:
        before = None if self.counted else _allocations()
        try:
            self.function(*arguments)
        except IndexError as error:
            if (told := outside(error)) is None:
                raise
            raise OutOfBounds(told) from error
        if before is not None:  # of the first block alone, as there are many
            self.counted = True
            if _allocations() - before > sum(isinstance(value, np.ndarray) for value in arguments):
                raise Allocates(self.kernel)


def _allocations() -> int:
    """How many objects numba's runtime has allocated."""
    return int(_runtime().get_allocation_stats().mi_alloc)


@functools.cache
def _runtime() -> Any:
    from numba.core.runtime import _nrt_python, rtsys

    _nrt_python.memsys_enable_stats()
    return rtsys


@functools.cache
def checked_cpu() -> CheckedCpu:
    """One that is used again and again."""
    return CheckedCpu(0, 1)
