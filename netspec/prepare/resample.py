"""Antialiased bilinear resizing, compiled: Pillow's fixed-point arithmetic in under half its time.

Pillow's ``resize`` is two passes, each a weighted sum with weights of 22 bits (libImaging/Resample.c): along rows, then
along columns. Newer versions take the columns first where that is less work, which moves a level by one here and there.
Here rows come first always, to the bits of Pillow's passes. Both run down the columns of a picture of four bytes a
pixel, turned between them, so that the inner loop is over neighbouring bytes and the compiler makes vector code of it.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from netspec.machine.environment import refuse_uncompiled

_BITS = 22
_ROUND, _SHIFT = np.int32(1 << (_BITS - 1)), np.int32(_BITS)
Pixels = NDArray[np.uint8]


class Taps(NamedTuple):
    """Of each output: its first input int64 (outputs,), how many int64 (outputs,), and their weights int32 (.., most).

    Inputs ``first`` to ``last`` are read; ``starts`` count from ``first``.
    """

    first: int
    last: int
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    weights: NDArray[np.int32]


@lru_cache(maxsize=256)
def taps(size: int, begin: float, end: float, outputs: int) -> Taps:
    """The weights that make so many outputs of the inputs from ``begin`` to ``end``, of ``size``, as Pillow has them.

    Pillow takes the box as float32 and goes on in float64, in this order of operations.
    """
    first = float(np.float32(begin))
    scale = float(np.float32(end) - np.float32(begin)) / outputs
    reach = max(scale, 1.0)
    centre = first + (np.arange(outputs) + 0.5) * scale
    low = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    counts = np.minimum((centre + reach + 0.5).astype(np.int64), size) - low
    place = np.arange(int(counts.max()))
    weights = np.maximum(0.0, 1.0 - np.abs((place + low[:, None] - centre[:, None] + 0.5) * (1.0 / reach)))
    weights *= place < counts[:, None]
    total = np.zeros(outputs)
    for column in weights.T:
        total += column
    fixed = (0.5 + weights / total[:, None] * (1 << _BITS)).astype(np.int32)
    return Taps(int(low[0]), int((low + counts).max()), low - low[0], counts, fixed)


def resized(pixels: Pixels, box: tuple[float, float, float, float], height: int, width: int) -> Pixels:
    """The box (left, top, right, bottom) of a picture, uint8 (H, W, 4), as uint8 (height, width, 4)."""
    across, down = taps(pixels.shape[1], box[0], box[2], width), taps(pixels.shape[0], box[1], box[3], height)
    used = pixels.view(np.uint32)[down.first : down.last, across.first : across.last, 0]
    columns = np.ascontiguousarray(used.T).view(np.uint8)
    narrow = np.empty((width, columns.shape[1]), np.uint8)
    weigh = _compiled()
    weigh(columns, narrow, across.starts, across.counts, across.weights)
    rows = np.ascontiguousarray(narrow.view(np.uint32).T).view(np.uint8)
    out = np.empty((height, width * 4), np.uint8)
    weigh(rows, out, down.starts, down.counts, down.weights)
    return out.reshape(height, width, 4)


@cache
def _compiled() -> Any:
    from netspec.kernels.cpu import compile_cpu  # imports numba: here, so that only the processes that resize do

    refuse_uncompiled()
    return compile_cpu(_weigh, "float32")


def _weigh(lines: Any, out: Any, starts: Any, counts: Any, weights: Any) -> None:
    """Line i of the output is the weighted sum of ``counts[i]`` lines from ``starts[i]`` on."""
    length = lines.shape[1]
    total = np.empty(length, np.int32)
    for i in range(out.shape[0]):
        total[:] = _ROUND
        for tap in range(counts[i]):
            weight, line = weights[i, tap], lines[starts[i] + tap]
            for x in range(length):
                total[x] = np.int32(total[x] + np.int32(np.int32(line[x]) * weight))
        row = out[i]
        for x in range(length):
            row[x] = np.uint8(total[x] >> _SHIFT)
