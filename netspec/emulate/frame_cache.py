"""A least-recently-used cache of frames: binding a kernel's instructions takes longer than running a small one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from netspec.emulate.frame import Frame
from netspec.emulate.memory import Array, Memory
from netspec.emulate.module import Kernel

_MOST, _LARGEST = 1 << 28, 1 << 24
"""Bytes of registers that a memory's frames may hold together, and one of them."""


@contextmanager
def frame_for(
    kernel: Kernel,
    memory: Memory,
    blocks: range,
    grid: tuple[int, int, int],
    shape: tuple[int, int, int],
    parameters: Array,
    symbols: dict[str, int],
    dynamic_shared: int,
) -> Iterator[Frame]:
    """A reset frame of the same kernel, memory and extents from the cache, or a new one."""
    key = (id(kernel), len(blocks), *shape, dynamic_shared)  # what a frame holds keeps its number
    frame = memory.frames.pop(key, None)
    if frame is None:
        frame = Frame(kernel, memory, blocks, grid, shape, parameters.copy(), symbols, dynamic_shared)
    else:
        frame.reset(blocks, grid, parameters)
    yield frame
    if frame.nbytes <= _LARGEST:
        memory.frames[key] = frame
        while sum(one.nbytes for one in memory.frames.values()) > _MOST:
            del memory.frames[next(iter(memory.frames))]
