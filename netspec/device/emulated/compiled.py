"""Launches on the emulator: PTX as numba-cuda compiles it for a card, and arguments as it passes them."""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from netspec.emulate.fault import Fault, Site
from netspec.emulate.memory import Memory
from netspec.emulate.module import Module
from netspec.emulate.ptx.line_info import Frames, source_lines
from netspec.emulate.scheduler import launch
from netspec.kernels.cuda import ptx_of, ptx_with_lines

Extent = tuple[int, ...]
_FLOAT_SUM = re.compile(r"\b(?:atom|red)\.\S*\badd\.\S*\bf(?:16|32|64)")
_PACKED = {"bool": "<?", "int64": "<q", "uint64": "<Q", "float32": "<f", "float64": "<d"}


@functools.cache
def module_of(
    function: Callable[..., Any],
    dtype: str,
    stored_through: Callable[..., Any] | None,
    types: tuple[Any, ...],
    capability: tuple[Any, ...],
) -> Module:
    """The parsed kernel for those types of arguments; raises KernelError where it cannot be compiled, and Fault."""
    return Module(ptx_of(function, dtype, stored_through, types, capability))


def lines_of(
    function: Callable[..., Any],
    dtype: str,
    stored_through: Callable[..., Any] | None,
    types: tuple[Any, ...],
    capability: tuple[Any, ...],
) -> Mapping[int, Frames]:
    """The lines of the source that a module's lines come from; the kernel is compiled once more for it."""
    asked = (function, dtype, stored_through, types, capability)
    return source_lines(ptx_of(*asked), ptx_with_lines(*asked))


def run(
    module: Module, memory: Memory, grid: Extent, threads: Extent, args: Sequence[Any], *, check: bool = True
) -> None:
    """Launch a module's only kernel as numba-cuda would: ``args`` are arrays in the memory, numbers and tuples."""
    (name,) = module.kernels
    values = [value for arg in args for value in flattened(arg)]
    launch(module, name, _three(grid), _three(threads), 0, values, memory, check=check)


def check_order(module: Module) -> None:
    """Raise Fault for an atomic sum of floats, whose bits on a card depend on the order in which threads come."""
    if line := _float_sum(module):
        raise Fault(f"adds floats atomically, at line {line} of the PTX", "order", (Site(line),))


@functools.cache
def _float_sum(module: Module) -> int:
    """The line of PTX with the first one; 0 where there is none."""
    found = _FLOAT_SUM.search(module.text)
    return module.text.count("\n", 0, found.start()) + 1 if found else 0


def flattened(value: Any) -> Iterator[bytes]:
    """A kernel's argument as numba-cuda passes it: an array as its struct's seven kinds of field."""
    if isinstance(value, np.ndarray):
        yield from map(_word, (0, 0, value.size, value.itemsize, value.ctypes.data, *value.shape, *value.strides))
    elif isinstance(value, tuple):
        for part in value:
            yield from flattened(part)
    else:
        number = np.asarray(value)
        yield struct.pack(_PACKED[number.dtype.name], number.item())


def _word(number: int) -> bytes:
    return struct.pack("<q", number)


def _three(extent: Extent) -> tuple[int, int, int]:
    x, y, z = (*extent, 1, 1)[:3]
    return x, y, z
