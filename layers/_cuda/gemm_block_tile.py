"""Tiled matrix products in CUDA without tensor cores: 64 threads compute a block tile of 32 x 32, 4 x 4 sums each.

A kernel decides what the rows, columns and terms of its product are; stage by stage it fills ``a`` (rows, terms) and
``b`` (terms, columns) in shared memory, calls ``multiply`` between two barriers and, in the end, writes its sums.
Operands are filled in one of two ways, whichever lets neighbouring threads read neighbouring addresses: two threads a
row, LOADS_PER_THREAD terms each, or a column a thread and every other term. Shared memory has one column more than it
needs, against bank conflicts.
"""

from netspec.plugin import cuda, device

THREADS, BLOCK, BLOCK_K, LOADS_PER_THREAD = 64, 32, 16, 8
"""Threads of a block; rows and columns of its tile; terms of a stage; neighbouring terms that a thread loads."""
THREADS_PER_EDGE, THREAD_TILE = 8, 4
"""Threads along each edge of the block tile, and sums of one of them along it."""
A_SHAPE, B_SHAPE, SUMS_SHAPE = (32, 17), (16, 33), (4, 4)
"""Shapes of the operands in shared memory and of one thread's sums."""


def blocks(count: int) -> int:
    """Block tiles that cover so many rows or columns."""
    return -(-count // BLOCK)


@device
def unravel(index, height, width):
    """The three indices of an element numbered through an array of shape (..., height, width)."""
    return index // (height * width), index // width % height, index % width


@device
def advance(n, h, w, by, height, width):
    """The indices ``by`` elements further, without the divisions of ``unravel``."""
    w += by
    while w >= width:
        w -= width
        h += 1
        if h == height:
            h = 0
            n += 1
    return n, h, w


@device
def own_row(a):
    """The row of the block tile that holds row ``a`` of a thread's sums."""
    return cuda.threadIdx.x // THREADS_PER_EDGE + THREADS_PER_EDGE * a


@device
def own_column(b):
    """The column of the block tile that holds column ``b`` of a thread's sums."""
    return cuda.threadIdx.x % THREADS_PER_EDGE + THREADS_PER_EDGE * b


@device
def clear(sums):
    """Start a thread's sums."""
    for i in range(THREAD_TILE):
        for j in range(THREAD_TILE):
            sums[i, j] = 0


@device
def start_from_bias(sums, bias, share):
    """Start a thread's sums with the biases of its columns, where a group, ``blockIdx.z``, has ``share`` of them."""
    first, stop = cuda.blockIdx.z * share + cuda.blockIdx.y * BLOCK, (cuda.blockIdx.z + 1) * share
    for j in range(THREAD_TILE):
        column = first + own_column(j)
        for i in range(THREAD_TILE):
            sums[i, j] = bias[column] if column < stop else 0.0


@device
def multiply(a, b, sums):
    """Add one stage's products to this thread's sums, which lie 8 rows and 8 columns apart."""
    row, column = own_row(0), own_column(0)
    for k in range(BLOCK_K):
        for i in range(THREAD_TILE):
            for j in range(THREAD_TILE):
                sums[i, j] += a[row + THREADS_PER_EDGE * i, k] * b[k, column + THREADS_PER_EDGE * j]
