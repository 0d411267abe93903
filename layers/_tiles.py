"""Tiled matrix products in CUDA: 256 threads fill two slabs in shared memory and add up a 32 x 32 tile, four sums each.

A kernel decides what the rows, columns and terms of its product are; it fills ``left`` (rows, terms) and ``right``
(terms, columns) with neighbouring threads on neighbouring addresses, calls ``multiply`` between two barriers and, in
the end, writes its sums. A row or column of shared memory has one element more than it needs, against bank conflicts.
"""

from netspec.plugin import cuda, device

THREADS, TILE, SLAB, HALF, QUARTER = 256, 32, 16, 16, 8
LEFT, RIGHT = (32, 17), (16, 33)
"""Shapes of the shared slabs."""


def tiles(count: int) -> int:
    """Tiles that cover so many rows or columns."""
    return -(-count // TILE)


@device
def clear(sums):
    """Start a thread's four sums."""
    for i in range(2):
        for j in range(2):
            sums[i, j] = 0


@device
def multiply(left, right, sums):
    """Add one slab's products to this thread's sums: rows and columns of its place and of half a tile further."""
    row, column = cuda.threadIdx.x // HALF, cuda.threadIdx.x % HALF
    for k in range(SLAB):
        for i in range(2):
            for j in range(2):
                sums[i, j] += left[row + HALF * i, k] * right[k, column + HALF * j]
