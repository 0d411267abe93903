"""Sums over arrays that are the same bits every time: no atomics, a tree whose shape depends on sizes alone.

An array is summed in parts of ``CHUNK`` elements, whose sums lie in a float64 array, in the same order on any backend;
one call or one block then sums those. In float64 no square of a float32 overflows: a sum of squares is finite where all
elements are.
"""

from __future__ import annotations

from typing import Any

from netspec.contract.kernel import Lazy, cuda, device

np = Lazy("numpy")

CHUNK = 4096
"""Elements whose squares are summed by one block of threads."""
THREADS = 256
"""Threads of a block that sums."""


def chunks(size: int) -> int:
    """How many partial sums an array of that many elements has."""
    return -(-size // CHUNK)


@device
def in_order(values: Any) -> Any:
    """On CPUs: the sum of a float64 array, in its order."""
    total = np.float64(0)
    for i in range(values.size):
        total += values[i]
    return total


@device
def over_block(total: Any, sums: Any) -> Any:
    """On GPUs: the sum over a block's threads of what each has; ``sums`` is shared memory, an element a thread."""
    thread, half = cuda.threadIdx.x, sums.size // 2
    sums[thread] = total
    cuda.syncthreads()
    while half > 0:
        if thread < half:
            sums[thread] += sums[thread + half]
        cuda.syncthreads()
        half //= 2
    total = sums[0]
    cuda.syncthreads()  # before the next sum is written there
    return total


@device
def by_block(values: Any, sums: Any) -> Any:
    """On GPUs: the sum of a float64 array by one block, which each of its threads gets."""
    total = np.float64(0)
    for i in range(cuda.threadIdx.x, values.size, THREADS):
        total += values[i]
    return over_block(total, sums)
