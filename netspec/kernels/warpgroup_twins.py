"""Portable twins of Hopper's matrix instruction, for kernels in the simulator; see netspec.kernels.warpgroup.

Operands are read through their descriptors, as the PTX ISA says ("Matrix Descriptor Format", "Swizzling Modes"), once
when a product starts and again when it is waited for: shared memory that changes in between is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from netspec.kernels.twins import elements

Array = np.ndarray[Any, Any]
_WIDTHS = {1: 128, 2: 64, 3: 32}
"""Bytes of a line by the swizzling mode."""
_STEP_BYTES = 32
"""Bytes of a line that one instruction takes, whatever its type."""
_TF32 = np.uint32(0xFFFFE000)


@dataclass(frozen=True)
class UnderWay:
    """Sums that a product is being added to: where its operands lie, what was there, and the sums of all threads."""

    memory: Array
    operands: tuple[tuple[int, int, int], ...]
    factors: tuple[Array, Array]
    sums: Array


def places(descriptor: int, lines: int) -> Array:
    """Byte addresses of the 4-byte words that an instruction reads of an operand, (lines, 8)."""
    start, rows_apart = (descriptor & 0x3FFF) << 4, (descriptor >> 32 & 0x3FFF) << 4
    mode, base_offset = descriptor >> 62, descriptor >> 49 & 7
    if mode not in _WIDTHS or base_offset or start % 1024 >= _WIDTHS[mode]:
        raise ValueError(f"descriptor {descriptor:#x}: not swizzled, or beginning at no multiple of 1024 bytes")
    line, byte = np.arange(lines)[:, None], np.arange(0, _STEP_BYTES, 4)
    plain = start + line // 8 * rows_apart + line % 8 * _WIDTHS[mode] + byte
    swizzled: Array = plain ^ (plain >> 3 & (_WIDTHS[mode] - 16))
    return swizzled


def read(memory: Array, descriptor: int, lines: int) -> Array:
    """An instruction's share of an operand as the tensor cores take it, (lines, 8) of float32 cut off to tf32."""
    words = memory.view(np.uint32)[places(descriptor, lines) // 4] & _TF32
    cut: Array = words.view(np.float32)
    return cut


def multiply(
    array: Any, left: int, right: int, sums: Sequence[Any], blocks: int, columns: int, describe: Callable[[int], int]
) -> Any:
    """Start a product; all 128 threads of the warpgroup must come by."""
    from netspec.kernels.simulated import in_warpgroup

    def start(threads: Sequence[Any]) -> Sequence[Any]:
        (_, left, right, _), same = threads[0], {thread[1:3] for thread in threads}
        if len(same) > 1:
            raise ValueError(f"the threads of a warpgroup name different operands: {sorted(same)}")
        memory, size = elements(threads[0][0]), 4 * 16
        starts = [(4 * left + size * 64 * block, 64) for block in range(blocks)] + [(4 * right, columns)]
        operands = tuple((describe(first), step, lines) for first, lines in starts for step in range(2))
        factors = _factors(memory, operands)
        pending = UnderWay(memory, operands, factors, np.array([thread[3] for thread in threads], np.float32))
        return [pending] * len(threads)

    return in_warpgroup((array, int(left), int(right), sums), start)


def _factors(memory: Array, operands: Sequence[tuple[int, int, int]]) -> tuple[Array, Array]:
    parts = [read(memory, start + (step * _STEP_BYTES >> 4), lines) for start, step, lines in operands]
    halves = [np.concatenate(parts[number : number + 2], axis=1) for number in range(0, len(parts), 2)]
    return np.concatenate(halves[:-1]), halves[-1]


def wait(pending: Any) -> Any:
    """The sums, products added."""
    from netspec.kernels.simulated import in_warpgroup

    return in_warpgroup(pending, _finish)


def _finish(threads: Sequence[UnderWay]) -> Sequence[Any]:
    pending = threads[0]
    again = _factors(pending.memory, pending.operands)
    if any((one.view(np.uint32) != two.view(np.uint32)).any() for one, two in zip(pending.factors, again, strict=True)):
        raise RuntimeError("shared memory changed under a product of matrices that was under way")
    left, right = pending.factors
    results = pending.sums + fragments(left @ right.T)
    return [tuple(one) for one in results]


def fragments(product: Array) -> Array:
    """Each thread's sums of a product (64 * blocks, columns), (128, sums): PTX ISA, the figure of the D fragments."""
    rows, columns = product.shape
    thread, number = np.arange(128)[:, None], np.arange(columns // 2)
    row = thread // 32 * 16 + thread % 32 // 4 + number // 2 % 2 * 8
    column = number // 4 * 8 + thread % 4 * 2 + number % 2
    return np.concatenate([product[64 * block + row, column] for block in range(rows // 64)], axis=1)
