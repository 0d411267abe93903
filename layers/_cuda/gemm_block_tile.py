"""Tiled matrix products in CUDA: 64 threads fill two slabs in shared memory and add up a 32 x 32 tile, 4 x 4 sums each.

A kernel decides what the rows, columns and terms of its product are; it fills ``left`` (rows, terms) and ``right``
(terms, columns), calls ``multiply`` between two barriers and, in the end, writes its sums. Operands are filled in one
of two ways, whichever lets neighbouring threads read neighbouring addresses: two threads a row, ``RUN`` terms each, or
a column a thread and every other term. Shared memory has one column more than it needs, against bank conflicts.
"""

from netspec.plugin import cuda, device

THREADS, TILE, SLAB, RUN, PER_SIDE, SUMS = 64, 32, 16, 8, 8, 4
LEFT, RIGHT, OWN = (32, 17), (16, 33), (4, 4)
"""Shapes of the shared slabs and of one thread's sums."""


def tiles(count: int) -> int:
    """Tiles that cover so many rows or columns."""
    return -(-count // TILE)


@device
def place(index, height, width):
    """The three indices of an element numbered through an array of shape (..., height, width)."""
    return index // (height * width), index // width % height, index % width


@device
def step(n, h, w, by, height, width):
    """The indices ``by`` elements further, without the divisions of ``place``."""
    w += by
    while w >= width:
        w -= width
        h += 1
        if h == height:
            h = 0
            n += 1
    return n, h, w


@device
def clear(sums):
    """Start a thread's sums."""
    for i in range(SUMS):
        for j in range(SUMS):
            sums[i, j] = 0


@device
def start(sums, bias, first, stop):
    """Start a thread's sums with the biases of its columns, those of this tile being ``first`` and on."""
    for j in range(SUMS):
        column = first + cuda.threadIdx.x % PER_SIDE + PER_SIDE * j
        for i in range(SUMS):
            sums[i, j] = bias[column] if column < stop else 0.0


@device
def multiply(left, right, sums):
    """Add one slab's products to this thread's sums, which lie 8 rows and 8 columns apart."""
    row, column = cuda.threadIdx.x // PER_SIDE, cuda.threadIdx.x % PER_SIDE
    for k in range(SLAB):
        for i in range(SUMS):
            for j in range(SUMS):
                sums[i, j] += left[row + PER_SIDE * i, k] * right[k, column + PER_SIDE * j]
