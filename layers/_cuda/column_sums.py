"""Column sums in CUDA: each element is read once, 16 bytes at a time where rows are whole float4s.

A block takes up to 256 float4s of columns, side by side in memory, and as many rows at once as its threads suffice for;
a thread has four loads in flight. Sums of threads meet in shared memory, in the order of their rows: so the bits are
the same every time. Tall matrices are cut into chunks of rows, whose sums are summed in turn.
"""

from typing import NamedTuple

from netspec.plugin import Workspace, backward, cuda, device, load4, quotient, store4

THREADS, IN_FLIGHT = 256, 4
"""Threads of a block, and loads of one that are in flight together."""
SHARED = 4 * THREADS
BLOCKS = 264
"""Blocks that keep a GPU's memory busy: two for each of an H100's multiprocessors."""


class Matrix(NamedTuple):
    """A matrix whose columns are summed, ``chunk_rows`` rows at a time."""

    rows: int
    columns: int
    chunk_rows: int


def units(columns):
    """Parts of a row that are one thread's: float4s, or single elements where rows are no whole float4s."""
    return columns // 4 if columns % 4 == 0 else columns


def grid(columns):
    """Blocks side by side."""
    return -(-units(columns) // THREADS)


def chunk_rows(rows, columns):
    """Rows of a chunk: so many that there are enough blocks, and that each thread has some."""
    at_once = max(THREADS // units(columns), 1)
    chunks = max(min(BLOCKS // grid(columns), -(-rows // (IN_FLIGHT * at_once))), 1)
    return -(-rows // chunks)


def matrix_of(t):
    """dy as a matrix."""
    rows, columns = t.y.size // t.y.shape[-1], t.y.shape[-1]
    return Matrix(rows, columns, chunk_rows(rows, columns))


def workspace(t):
    """The bias's gradients of chunks of dy's rows."""
    matrix = matrix_of(t)
    return {"bias_partials": Workspace((-(-matrix.rows // matrix.chunk_rows), matrix.columns), "float32")}


def scalars(layer, t):
    """What the kernels take beside tensors."""
    return {"matrix": matrix_of(t)}


@device
def read_one(source, index):
    """One element, and zeros beside it."""
    return source[index], 0.0, 0.0, 0.0


@device
def write_one(target, index, a, b, c, d):
    """The first of four."""
    target[index] = a


def make_sums(width, read, write):
    """A device function that sums the columns of rows ``first`` to ``end`` of a matrix into row ``to`` of another."""

    @device
    def sums_of(shared, source, target, columns, first, end, to):
        t, start = cuda.threadIdx.x, cuda.blockIdx.x * THREADS
        lanes = min(columns // width - start, THREADS)
        at_once = quotient(THREADS, lanes)
        own = quotient(t, lanes)
        column = (start + t - own * lanes) * width
        a, b, c, d = 0.0, 0.0, 0.0, 0.0
        stop, row = end if own < at_once else first, first + own
        while row + (IN_FLIGHT - 1) * at_once < stop:
            p = read(source, row * columns + column)
            q = read(source, (row + at_once) * columns + column)
            r = read(source, (row + 2 * at_once) * columns + column)
            s = read(source, (row + 3 * at_once) * columns + column)
            a, b = a + ((p[0] + q[0]) + (r[0] + s[0])), b + ((p[1] + q[1]) + (r[1] + s[1]))
            c, d = c + ((p[2] + q[2]) + (r[2] + s[2])), d + ((p[3] + q[3]) + (r[3] + s[3]))
            row += IN_FLIGHT * at_once
        while row < stop:
            p = read(source, row * columns + column)
            a, b, c, d = a + p[0], b + p[1], c + p[2], d + p[3]
            row += at_once
        store4(shared, 4 * t, a, b, c, d)
        cuda.syncthreads()
        if t < lanes:
            for other in range(1, at_once):
                p = load4(shared, 4 * (t + other * lanes))
                a, b, c, d = a + p[0], b + p[1], c + p[2], d + p[3]
            write(target, to * columns + column, a, b, c, d)

    return sums_of


sum_float4s, sum_elements = make_sums(4, load4, store4), make_sums(1, read_one, write_one)


@device
def sum_rows(source, target, columns, first, end, to):
    """Sum the columns of those rows into row ``to`` of the target."""
    shared = cuda.shared.array(SHARED, source.dtype, alignment=16)
    if columns % 4 == 0:
        sum_float4s(shared, source, target, columns, first, end, to)
    else:
        sum_elements(shared, source, target, columns, first, end, to)


def _chunks_grid(t):
    return grid(t.y.shape[-1]), workspace(t)["bias_partials"].shape[0]


def _options(writes, of):
    return {"over": writes, "writes": writes, "grid": of, "threads": THREADS, "linear": True}


@backward("cuda", **_options("bias_partials", _chunks_grid), when={"bias": True})
def d_bias_chunk_cuda(dy, bias_partials, matrix: Matrix):
    first = cuda.blockIdx.y * matrix.chunk_rows
    stop = min(first + matrix.chunk_rows, matrix.rows)
    sum_rows(dy, bias_partials, matrix.columns, first, stop, cuda.blockIdx.y)


@backward("cuda", **_options("d_bias", lambda t: (grid(t.y.shape[-1]),)), when={"bias": True})
def d_bias_sum_cuda(bias_partials, d_bias):
    columns = d_bias.size
    sum_rows(bias_partials, d_bias, columns, 0, bias_partials.size // columns, 0)


@backward("cuda", **_options("d_weight", lambda t: (grid(t.weight.size),)))
def d_weight_sum_cuda(partials, d_weight):
    columns = d_weight.size
    sum_rows(partials, d_weight, columns, 0, partials.size // columns, 0)


BIAS = (d_bias_chunk_cuda, d_bias_sum_cuda)
KERNELS = (d_weight_sum_cuda, *BIAS)
"""The reductions that end the backward pass of a dense layer and of a convolution."""
