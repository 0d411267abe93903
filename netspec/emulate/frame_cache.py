"""Frames kept from one launch to the next: binding a kernel's instructions takes longer than running small ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from netspec.emulate.frame import Frame
from netspec.emulate.memory import Array, Memory
from netspec.emulate.module import Kernel

_KEPT, _LARGEST = 16, 4096
"""How many frames are kept, and of how many threads at most: registers take room."""
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
    """A frame as new: one that had the same kernel, memory and numbers of threads, where there is one at rest."""
    key = (id(kernel), id(memory), len(blocks), *shape, shared)  # what a frame holds keeps its number
    frame = _frames.pop(key, None)
    if frame is None:
        frame = Frame(kernel, memory, blocks, grid, shape, parameters.copy(), symbols, shared)
    else:
        frame.renew(blocks, grid, parameters)
    yield frame
    if frame.count <= _LARGEST:
        _frames[key] = frame
        if len(_frames) > _KEPT:
            _frames.popitem(last=False)
