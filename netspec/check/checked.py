"""A CPU device whose kernels check each index; what lies outside is told with its line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from netspec.device.base import Arrays
from netspec.device.cpu.device import CpuDevice
from netspec.errors import NetspecError
from netspec.kernels.bounds import outside
from netspec.planning.plan import Pass


class OutOfBounds(NetspecError):
    """A kernel's index lies outside its array."""


class CheckedCpu(CpuDevice):
    """A team of one; a pass that leaves an array raises OutOfBounds before it does."""

    checked = True

    def _call(self, one: Pass, arrays: Arrays) -> tuple[Callable[..., Any], list[tuple[Any, ...]]]:
        function, arguments = super()._call(one, arrays)

        def call(*given: Any) -> None:
            try:
                function(*given)
            except IndexError as error:
                if (told := outside(error)) is None:
                    raise
                raise OutOfBounds(told) from error

        return call, arguments


@functools.cache
def checked_cpu() -> CheckedCpu:
    """One that is used again and again."""
    return CheckedCpu(0, 1)
