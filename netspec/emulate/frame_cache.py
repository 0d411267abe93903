"""A least-recently-used cache of frames: binding a kernel's instructions takes longer than running a small one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from netspec.emulate.frame import Frame
from netspec.emulate.memory import Array, Memory
from netspec.emulate.module import Kernel

_KEPT, _LARGEST = 16, 4096
"""Most frames kept, and most threads of one: registers take memory."""
_frames: OrderedDict[tuple[int, ...], Frame] = OrderedDict()


@contextmanager
def frame_for(
    kernel: Kernel,
    memory: Memory,
    blocks: range,
    grid: tuple[int, int, int],
    shape: tuple[int, int, int],
    parameters: Array,
    symbols: dict[str, int],
    shared: int,
) -> Iterator[Frame]:
    """A reset frame of the same kernel, memory and extents from the cache, or a new one."""
    key = (id(kernel), id(memory), len(blocks), *shape, shared)  # what a frame holds keeps its number
    frame = _frames.pop(key, None)
    if frame is None:
        frame = Frame(kernel, memory, blocks, grid, shape, parameters.copy(), symbols, shared)
    else:
        frame.reset(blocks, grid, parameters)
    yield frame
    if frame.count <= _LARGEST:
        _frames[key] = frame
        if len(_frames) > _KEPT:
            _frames.popitem(last=False)
