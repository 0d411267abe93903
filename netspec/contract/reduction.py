"""Sums over arrays that are the same bits every time: no atomics, a tree whose shape depends on sizes alone.

An array is summed in parts of ``CHUNK`` elements, whose sums lie in a float64 array, in the same order on any backend;
one call or one block then sums those. In float64 no square of a float32 overflows: a sum of squares is finite where all
elements are.
"""

from __future__ import annotations

from typing import Any

from netspec.contract.kernel import Lazy, cuda, device, load4, store4

np, shuffle_xor = Lazy("numpy"), Lazy("netspec.kernels.instructions", "shuffle_xor")

CHUNK = 4096
"""Elements whose squares are summed by one block of threads."""
THREADS, WARP = 256, 32
WARPS = THREADS // WARP
"""Threads of a block that sums, of a warp, and warps of a block."""


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


def lanes_of(depth: int, vectors: int = 1) -> int:
    """Threads of a block that share a row: a power of two, so many that each has so many vectors of four, if possible.

    Where rows are no whole vectors, a thread has one element.
    """
    wanted = -(-depth // (4 * vectors)) if depth % 4 == 0 else depth
    return min(1 << (wanted - 1).bit_length(), THREADS)


@device
def sum_of_row(value: Any, lanes: Any, shared: Any) -> Any:
    """On GPUs: the sum over the lanes of a row, which each gets; ``shared`` has an element a warp."""
    for step in range(5):
        other = shuffle_xor(value, WARP // 2 >> step)  # type: ignore[operator]
        value = value + other if WARP // 2 >> step < lanes else value
    if lanes > WARP:
        value = of_warps(value, lanes, shared)
        for step in range(3):
            other = shuffle_xor(value, WARPS // 2 >> step)  # type: ignore[operator]
            value = value + other if WARP * (WARPS // 2 >> step) < lanes else value
    return value


@device
def max_of_row(value: Any, lanes: Any, shared: Any) -> Any:
    """On GPUs: the largest of the values of a row's lanes."""
    for step in range(5):
        other = shuffle_xor(value, WARP // 2 >> step)  # type: ignore[operator]
        value = max(value, other) if WARP // 2 >> step < lanes else value
    if lanes > WARP:
        value = of_warps(value, lanes, shared)
        for step in range(3):
            other = shuffle_xor(value, WARPS // 2 >> step)  # type: ignore[operator]
            value = max(value, other) if WARP * (WARPS // 2 >> step) < lanes else value
    return value


@device
def of_warps(value: Any, lanes: Any, shared: Any) -> Any:
    """The value of each of a row's warps, by lane."""
    thread = np.uint32(cuda.threadIdx.x)  # unsigned: no index is looked at for a sign
    warp, last = thread >> np.uint32(5), np.uint32(lanes // WARP - 1)
    cuda.syncthreads()  # what was there before has been read
    if thread & np.uint32(31) == 0:
        shared[warp] = value
    cuda.syncthreads()
    return shared[(warp & ~last) + (thread & last)]


@device
def sum_of_column(value: Any, lanes: Any, at_once: Any, shared: Any) -> Any:
    """On GPUs: what the first ``lanes`` threads get is the sum over those in their column, ``at_once`` rows of threads.

    ``shared`` has an element a thread at least.
    """
    thread = cuda.threadIdx.x
    cuda.syncthreads()
    shared[thread] = value
    cuda.syncthreads()
    if thread < lanes:
        for other in range(1, at_once):
            value += shared[thread + other * lanes]
    return value


@device
def sum_of_four_columns(four: Any, lanes: Any, at_once: Any, shared: Any) -> Any:
    """The same of four values each; ``shared`` has four elements a thread."""
    thread, (a, b, c, d) = cuda.threadIdx.x, four
    cuda.syncthreads()
    store4(shared, 4 * thread, a, b, c, d)  # type: ignore[operator]
    cuda.syncthreads()
    if thread < lanes:
        for other in range(1, at_once):
            p, q, r, s = load4(shared, 4 * (thread + other * lanes))  # type: ignore[operator]
            a, b, c, d = a + p, b + q, c + r, d + s
    return a, b, c, d
