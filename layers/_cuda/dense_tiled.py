"""Dense layers in CUDA: tiled matrix products; the pixels of an image count as further terms of a sum."""

from math import prod

from netspec.layers._cuda.gemm_block_tile import (
    LEFT,
    OWN,
    PER_SIDE,
    RIGHT,
    RUN,
    SLAB,
    SUMS,
    THREADS,
    TILE,
    clear,
    multiply,
    start,
    tiles,
)
from netspec.plugin import backward, cuda, device, epilogue, forward


def _groups(t):
    return t.x.shape[-1] // t.weight.shape[-2]


def _forward_grid(t):
    return tiles(t.x.shape[0]), tiles(t.y.shape[1] // _groups(t)), _groups(t)


def _d_x_grid(t):
    return tiles(prod(t.weight.shape[:-1])), tiles(t.x.shape[0]), _groups(t)


def _d_weight_grid(t):
    return tiles(prod(t.weight.shape[:-1])), tiles(t.y.shape[1] // _groups(t)), _groups(t)


@device
def value(x, n, term, group, depth):
    """x of image n for a term of group's sums: pixel after pixel, channel after channel."""
    p, c = term // depth, group * depth + term % depth
    if x.ndim == 4:
        return x[n, p // x.shape[2], p % x.shape[2], c]
    else:
        return x[n, c]


@device
def weight_of(weight, term, depth, u):
    """The weight of unit u for a term of its sum."""
    p, c = term // depth, term % depth
    if weight.ndim == 4:
        return weight[p // weight.shape[1], p % weight.shape[1], c, u]
    else:
        return weight[c, u]


@device
def put_image(array, n, term, group, depth, result):
    """``value``'s place in array = result."""
    p, c = term // depth, group * depth + term % depth
    if array.ndim == 4:
        array[n, p // array.shape[2], p % array.shape[2], c] = result
    else:
        array[n, c] = result


@device
def put_weight(array, term, depth, u, result):
    """``weight_of``'s place in array = result."""
    p, c = term // depth, term % depth
    if array.ndim == 4:
        array[p // array.shape[1], p % array.shape[1], c, u] = result
    else:
        array[c, u] = result


@device
def product(x, weight, y, sums, pixels, depth, units, groups):
    """Add this block's terms to its threads' sums, slab by slab, and store them."""
    left = cuda.shared.array(LEFT, x.dtype)
    right = cuda.shared.array(RIGHT, x.dtype)
    thread, rows, columns, group = cuda.threadIdx.x, cuda.blockIdx.x * TILE, cuda.blockIdx.y * TILE, cuda.blockIdx.z
    share, terms = units // groups, pixels * depth
    row, first, column = thread // 2, thread % 2 * RUN, thread % TILE
    for slab in range(0, terms, SLAB):
        for k in range(first, first + RUN):
            inside = rows + row < x.shape[0] and slab + k < terms
            left[row, k] = value(x, rows + row, slab + k, group, depth) if inside else 0.0
        for k in range(thread // TILE, SLAB, 2):
            inside = columns + column < share and slab + k < terms
            right[k, column] = weight_of(weight, slab + k, depth, group * share + columns + column) if inside else 0.0
        cuda.syncthreads()
        multiply(left, right, sums)
        cuda.syncthreads()
    for a in range(SUMS):
        n = rows + thread // PER_SIDE + PER_SIDE * a
        for b in range(SUMS):
            u = columns + thread % PER_SIDE + PER_SIDE * b
            if n < y.shape[0] and u < share:
                y[n, group * share + u] = epilogue(sums[a, b])


@forward("cuda", over="y", grid=_forward_grid, threads=THREADS, writes="y", when={"bias": True})
def forward_cuda(x, weight, bias, y, pixels, depth, units, groups):
    sums = cuda.local.array(OWN, x.dtype)
    share = units // groups
    start(sums, bias, cuda.blockIdx.z * share + cuda.blockIdx.y * TILE, (cuda.blockIdx.z + 1) * share)
    product(x, weight, y, sums, pixels, depth, units, groups)


@forward("cuda", over="y", grid=_forward_grid, threads=THREADS, writes="y", when={"bias": False})
def forward_unbiased_cuda(x, weight, y, pixels, depth, units, groups):
    sums = cuda.local.array(OWN, x.dtype)
    clear(sums)
    product(x, weight, y, sums, pixels, depth, units, groups)


@backward("cuda", over="d_x", grid=_d_x_grid, threads=THREADS, writes="d_x")
def d_x_cuda(weight, dy, d_x, pixels, depth, units, groups):
    left = cuda.shared.array(LEFT, dy.dtype)
    right = cuda.shared.array(RIGHT, dy.dtype)
    sums = cuda.local.array(OWN, dy.dtype)
    thread, columns, rows, group = cuda.threadIdx.x, cuda.blockIdx.x * TILE, cuda.blockIdx.y * TILE, cuda.blockIdx.z
    share, terms, start = units // groups, pixels * depth, group * (units // groups)
    row, first = thread // 2, thread % 2 * RUN
    clear(sums)
    for slab in range(0, share, SLAB):
        for k in range(first, first + RUN):
            inside = rows + row < dy.shape[0] and slab + k < share
            left[row, k] = dy[rows + row, start + slab + k] if inside else 0.0
            inside = columns + row < terms and slab + k < share
            right[k, row] = weight_of(weight, columns + row, depth, start + slab + k) if inside else 0.0
        cuda.syncthreads()
        multiply(left, right, sums)
        cuda.syncthreads()
    for a in range(SUMS):
        n = rows + thread // PER_SIDE + PER_SIDE * a
        for b in range(SUMS):
            term = columns + thread % PER_SIDE + PER_SIDE * b
            if n < dy.shape[0] and term < terms:
                put_image(d_x, n, term, group, depth, sums[a, b])


@backward("cuda", over="d_weight", grid=_d_weight_grid, threads=THREADS, writes="d_weight")
def d_weight_cuda(x, dy, d_weight, pixels, depth, units, groups):
    left = cuda.shared.array(LEFT, x.dtype)
    right = cuda.shared.array(RIGHT, x.dtype)
    sums = cuda.local.array(OWN, x.dtype)
    thread, rows, columns, group = cuda.threadIdx.x, cuda.blockIdx.x * TILE, cuda.blockIdx.y * TILE, cuda.blockIdx.z
    share, terms, start = units // groups, pixels * depth, group * (units // groups)
    lane = thread % TILE
    clear(sums)
    for slab in range(0, x.shape[0], SLAB):
        for k in range(thread // TILE, SLAB, 2):
            n = slab + k
            inside = n < x.shape[0] and rows + lane < terms
            left[lane, k] = value(x, n, rows + lane, group, depth) if inside else 0.0
            inside = n < x.shape[0] and columns + lane < share
            right[k, lane] = dy[n, start + columns + lane] if inside else 0.0
        cuda.syncthreads()
        multiply(left, right, sums)
        cuda.syncthreads()
    for a in range(SUMS):
        term = rows + thread // PER_SIDE + PER_SIDE * a
        for b in range(SUMS):
            u = columns + thread % PER_SIDE + PER_SIDE * b
            if term < terms and u < share:
                put_weight(d_weight, term, depth, start + u, sums[a, b])
