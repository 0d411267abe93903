"""Launches on the emulator: PTX as numba-cuda compiles it for a card, and arguments as it passes them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from netspec.device.cuda.arguments import flattened
from netspec.emulate.fault import Fault, Site
from netspec.emulate.memory import Memory
from netspec.emulate.module import Module
from netspec.emulate.ptx.line_info import Frames, source_lines
from netspec.emulate.scheduler import launch
from netspec.kernels.cuda import ptx_of, ptx_with_lines

Extent = tuple[int, ...]
_FLOAT_SUM = re.compile(r"\b(?:atom|red)\.\S*\badd\.\S*\bf(?:16|32|64)")


@functools.cache
def module_of(
    function: Callable[..., Any],
    dtype: str,
    stored_through: Callable[..., Any] | None,
    types: tuple[Any, ...],
    capability: tuple[Any, ...],
    bound: int = 0,
) -> Module:
    """The parsed kernel for those types of arguments; raises KernelError where it cannot be compiled, and Fault."""
    return Module(ptx_of(function, dtype, stored_through, types, capability, bound))


def lines_of(
    function: Callable[..., Any],
    dtype: str,
    stored_through: Callable[..., Any] | None,
    types: tuple[Any, ...],
    capability: tuple[Any, ...],
    bound: int = 0,
) -> Mapping[int, Frames]:
    """The lines of the source that a module's lines come from; the kernel is compiled once more for it."""
    asked = (function, dtype, stored_through, types, capability, bound)
    return source_lines(ptx_of(*asked), ptx_with_lines(*asked))


def run(
    module: Module,
    memory: Memory,
    grid: Extent,
    threads: Extent,
    args: Sequence[Any],
    shared: int = 0,
    *,
    check: bool = True,
) -> None:
    """Launch a module's only kernel: ``args`` are arrays in the memory, numbers and tuples; see Pass for ``shared``."""
    (name,) = module.kernels
    values = [value for arg in args for value in flattened(arg)]
    launch(module, name, _three(grid), _three(threads), shared, values, memory, check=check)


def check_order(module: Module) -> None:
    """Raise Fault for an atomic sum of floats, whose bits on a card depend on the order in which threads come."""
    if line := _float_sum(module):
        raise Fault(f"adds floats atomically, at line {line} of the PTX", "order", (Site(line),))


@functools.cache
def _float_sum(module: Module) -> int:
    """The line of PTX with the first one; 0 where there is none."""
    found = _FLOAT_SUM.search(module.text)
    return module.text.count("\n", 0, found.start()) + 1 if found else 0


def _three(extent: Extent) -> tuple[int, int, int]:
    x, y, z = (*extent, 1, 1)[:3]
    return x, y, z
