"""Dense layers in CUDA without tensor cores: tiled matrix products; an image's pixels count as further terms."""

from math import prod

from netspec.layers._cuda import column_sums
from netspec.layers._cuda.gemm_block_tile import (
    A_SHAPE,
    B_SHAPE,
    BLOCK,
    BLOCK_K,
    LOADS_PER_THREAD,
    SUMS_SHAPE,
    THREAD_TILE,
    THREADS,
    blocks,
    clear,
    multiply,
    own_column,
    own_row,
    start_from_bias,
)
from netspec.layers._dense_sizes import Sizes
from netspec.plugin import Variant, backward, cuda, device, finish, forward, put_others


def _groups(t):
    return t.x.shape[-1] // t.weight.shape[-2]


def _forward_grid(t):
    return blocks(t.x.shape[0]), blocks(t.y.shape[1] // _groups(t)), _groups(t)


def _d_x_grid(t):
    return blocks(prod(t.weight.shape[:-1])), blocks(t.x.shape[0]), _groups(t)


def _d_weight_grid(t):
    return blocks(prod(t.weight.shape[:-1])), blocks(t.y.shape[1] // _groups(t)), _groups(t)


@device
def load_x(x, n, term, group, depth):
    """x of image n for a term of the group's sums: pixel after pixel, channel after channel."""
    p, c = term // depth, group * depth + term % depth
    if x.ndim == 4:
        return x[n, p // x.shape[2], p % x.shape[2], c]
    else:
        return x[n, c]


@device
def load_weight(weight, term, depth, u):
    """The weight of unit u for a term of its sum."""
    p, c = term // depth, term % depth
    if weight.ndim == 4:
        return weight[p // weight.shape[1], p % weight.shape[1], c, u]
    else:
        return weight[c, u]


@device
def put_d_x(d_x, n, term, group, depth, value):
    """Store a gradient where ``load_x`` reads."""
    p, c = term // depth, group * depth + term % depth
    if d_x.ndim == 4:
        d_x[n, p // d_x.shape[2], p % d_x.shape[2], c] = value
    else:
        d_x[n, c] = value


@device
def put_d_weight(d_weight, term, depth, u, value):
    """Store a gradient where ``load_weight`` reads."""
    p, c = term // depth, term % depth
    if d_weight.ndim == 4:
        d_weight[p // d_weight.shape[1], p % d_weight.shape[1], c, u] = value
    else:
        d_weight[c, u] = value


@device
def product(x, weight, y, sums, sizes, operands):
    """Add this block's terms to its threads' sums, stage by stage, and store them."""
    a, b = cuda.shared.array(A_SHAPE, x.dtype), cuda.shared.array(B_SHAPE, x.dtype)
    thread, rows, columns, group = cuda.threadIdx.x, cuda.blockIdx.x * BLOCK, cuda.blockIdx.y * BLOCK, cuda.blockIdx.z
    depth, share, terms = sizes.depth, sizes.units // sizes.groups, sizes.pixels * sizes.depth
    row, first, column = thread // 2, thread % 2 * LOADS_PER_THREAD, thread % BLOCK
    for stage in range(0, terms, BLOCK_K):
        for k in range(first, first + LOADS_PER_THREAD):
            inside = rows + row < x.shape[0] and stage + k < terms
            a[row, k] = load_x(x, rows + row, stage + k, group, depth) if inside else 0.0
        for k in range(thread // BLOCK, BLOCK_K, 2):
            inside = columns + column < share and stage + k < terms
            b[k, column] = load_weight(weight, stage + k, depth, group * share + columns + column) if inside else 0.0
        cuda.syncthreads()
        multiply(a, b, sums)
        cuda.syncthreads()
    for i in range(THREAD_TILE):
        n = rows + own_row(i)
        for j in range(THREAD_TILE):
            u = columns + own_column(j)
            if n < y.shape[0] and u < share:
                own = group * share + u
                values = finish(sums[i, j], 0.0, 0.0, 0.0, n * sizes.units + own, 1, False, operands)
                y[n, own] = values[0]
                put_others(values, n * sizes.units + own, 1, False, operands)


@forward("cuda", over="y", grid=_forward_grid, threads=THREADS, writes="y", when={"bias": True})
def forward_cuda(x, weight, bias, y, sizes: Sizes, *operands):
    sums = cuda.local.array(SUMS_SHAPE, x.dtype)
    start_from_bias(sums, bias, sizes.units // sizes.groups)
    product(x, weight, y, sums, sizes, operands)


@forward("cuda", over="y", grid=_forward_grid, threads=THREADS, writes="y", when={"bias": False})
def forward_unbiased_cuda(x, weight, y, sizes: Sizes, *operands):
    sums = cuda.local.array(SUMS_SHAPE, x.dtype)
    clear(sums)
    product(x, weight, y, sums, sizes, operands)


@backward("cuda", over="d_x", grid=_d_x_grid, threads=THREADS, writes="d_x")
def d_x_cuda(weight, dy, d_x, sizes: Sizes):
    a, b = cuda.shared.array(A_SHAPE, dy.dtype), cuda.shared.array(B_SHAPE, dy.dtype)
    sums = cuda.local.array(SUMS_SHAPE, dy.dtype)
    thread, columns, rows, group = cuda.threadIdx.x, cuda.blockIdx.x * BLOCK, cuda.blockIdx.y * BLOCK, cuda.blockIdx.z
    depth, share, terms = sizes.depth, sizes.units // sizes.groups, sizes.pixels * sizes.depth
    row, first, start = thread // 2, thread % 2 * LOADS_PER_THREAD, group * share
    clear(sums)
    for stage in range(0, share, BLOCK_K):
        for k in range(first, first + LOADS_PER_THREAD):
            inside = rows + row < dy.shape[0] and stage + k < share
            a[row, k] = dy[rows + row, start + stage + k] if inside else 0.0
            inside = columns + row < terms and stage + k < share
            b[k, row] = load_weight(weight, columns + row, depth, start + stage + k) if inside else 0.0
        cuda.syncthreads()
        multiply(a, b, sums)
        cuda.syncthreads()
    for i in range(THREAD_TILE):
        n = rows + own_row(i)
        for j in range(THREAD_TILE):
            term = columns + own_column(j)
            if n < dy.shape[0] and term < terms:
                put_d_x(d_x, n, term, group, depth, sums[i, j])


@backward("cuda", over="d_weight", grid=_d_weight_grid, threads=THREADS, writes="d_weight")
def d_weight_cuda(x, dy, d_weight, sizes: Sizes):
    a, b = cuda.shared.array(A_SHAPE, x.dtype), cuda.shared.array(B_SHAPE, x.dtype)
    sums = cuda.local.array(SUMS_SHAPE, x.dtype)
    thread, rows, columns, group = cuda.threadIdx.x, cuda.blockIdx.x * BLOCK, cuda.blockIdx.y * BLOCK, cuda.blockIdx.z
    depth, share, terms = sizes.depth, sizes.units // sizes.groups, sizes.pixels * sizes.depth
    lane, start = thread % BLOCK, group * share
    clear(sums)
    for stage in range(0, x.shape[0], BLOCK_K):
        for k in range(thread // BLOCK, BLOCK_K, 2):
            n = stage + k
            inside = n < x.shape[0] and rows + lane < terms
            a[lane, k] = load_x(x, n, rows + lane, group, depth) if inside else 0.0
            inside = n < x.shape[0] and columns + lane < share
            b[k, lane] = dy[n, start + columns + lane] if inside else 0.0
        cuda.syncthreads()
        multiply(a, b, sums)
        cuda.syncthreads()
    for i in range(THREAD_TILE):
        term = rows + own_row(i)
        for j in range(THREAD_TILE):
            u = columns + own_column(j)
            if term < terms and u < share:
                put_d_weight(d_weight, term, depth, start + u, sums[i, j])


PLAIN = Variant(
    "plain",
    kernels=(forward_cuda, forward_unbiased_cuda, d_x_cuda, d_weight_cuda, *column_sums.BIAS),
    workspace=lambda layer, t, direction: column_sums.workspace(t) if direction == "backward" else {},
    scalars=column_sums.scalars,
)
