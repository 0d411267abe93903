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
from netspec.plugin import Variant, backward, cuda, device, epilogue, forward


def _groups(t):
    return t.x.shape[-1] // t.weight.shape[-2]


def _forward_grid(t):
    return blocks(t.x.shape[0]), blocks(t.y.shape[1] // _groups(t)), _groups(t)


def _d_x_grid(t):
    return blocks(prod(t.weight.shape[:-1])), blocks(t.x.shape[0]), _groups(t)


def _d_weight_grid(t):
    return blocks(prod(t.weight.shape[:-1])), blocks(t.y.shape[1] // _groups(t)), _groups(t)


# Elements by the rows and columns of products; zero, or nothing, beyond the ends -----------------------------------


@device
def load_x(x, n, term, sizes):
    """x of image n for a term of the group's sums: pixel after pixel, channel after channel."""
    if n >= x.shape[0] or term >= sizes.pixels * sizes.depth:
        return 0.0
    p, c = term // sizes.depth, cuda.blockIdx.z * sizes.depth + term % sizes.depth
    if x.ndim == 4:
        return x[n, p // x.shape[2], p % x.shape[2], c]
    else:
        return x[n, c]


@device
def load_weight(weight, term, unit, sizes):
    """The weight of a group's unit for a term of its sum."""
    share = sizes.units // sizes.groups
    if unit >= share or term >= sizes.pixels * sizes.depth:
        return 0.0
    p, c, u = term // sizes.depth, term % sizes.depth, cuda.blockIdx.z * share + unit
    if weight.ndim == 4:
        return weight[p // weight.shape[1], p % weight.shape[1], c, u]
    else:
        return weight[c, u]


@device
def load_dy(dy, n, unit, sizes):
    """dy of image n and a group's unit."""
    share = sizes.units // sizes.groups
    return dy[n, cuda.blockIdx.z * share + unit] if n < dy.shape[0] and unit < share else 0.0


@device
def put_y(y, n, unit, value, sizes):
    """Store a sum of the forward pass."""
    share = sizes.units // sizes.groups
    if n < y.shape[0] and unit < share:
        y[n, cuda.blockIdx.z * share + unit] = epilogue(value)


@device
def put_d_x(d_x, n, term, value, sizes):
    """Store a gradient where ``load_x`` reads."""
    p, c = term // sizes.depth, cuda.blockIdx.z * sizes.depth + term % sizes.depth
    if n < d_x.shape[0] and term < sizes.pixels * sizes.depth:
        if d_x.ndim == 4:
            d_x[n, p // d_x.shape[2], p % d_x.shape[2], c] = value
        else:
            d_x[n, c] = value


@device
def put_d_weight(d_weight, term, unit, value, sizes):
    """Store a gradient where ``load_weight`` reads."""
    share = sizes.units // sizes.groups
    p, c, u = term // sizes.depth, term % sizes.depth, cuda.blockIdx.z * share + unit
    if unit < share and term < sizes.pixels * sizes.depth:
        if d_weight.ndim == 4:
            d_weight[p // d_weight.shape[1], p % d_weight.shape[1], c, u] = value
        else:
            d_weight[c, u] = value


# Products -----------------------------------------------------------------------------------------------------------


def swapped(load):
    """The same element, its two indices the other way round."""

    @device
    def load_swapped(source, i, j, sizes):
        return load(source, j, i, sizes)

    return load_swapped


def make_product(load_a, load_b, put, a_by_rows, b_by_rows):
    """A device function that adds a block tile's products to its threads' sums, stage by stage, and stores them.

    ``load_a(source, row, term, sizes)`` and ``load_b(source, column, term, sizes)`` are filled in by rows where
    neighbouring terms are neighbours in memory, else a row or column a thread.
    """

    @device
    def product(a_source, b_source, target, sums, first_row, first_column, terms, sizes):
        a, b = cuda.shared.array(A_SHAPE, a_source.dtype), cuda.shared.array(B_SHAPE, a_source.dtype)
        row, first = cuda.threadIdx.x // 2, cuda.threadIdx.x % 2 * LOADS_PER_THREAD
        lane, half = cuda.threadIdx.x % BLOCK, cuda.threadIdx.x // BLOCK
        for stage in range(0, terms, BLOCK_K):
            if a_by_rows:
                for k in range(first, first + LOADS_PER_THREAD):
                    a[row, k] = load_a(a_source, first_row + row, stage + k, sizes)
            else:
                for k in range(half, BLOCK_K, 2):
                    a[lane, k] = load_a(a_source, first_row + lane, stage + k, sizes)
            if b_by_rows:
                for k in range(first, first + LOADS_PER_THREAD):
                    b[k, row] = load_b(b_source, first_column + row, stage + k, sizes)
            else:
                for k in range(half, BLOCK_K, 2):
                    b[k, lane] = load_b(b_source, first_column + lane, stage + k, sizes)
            cuda.syncthreads()
            multiply(a, b, sums)
            cuda.syncthreads()
        for i in range(THREAD_TILE):
            for j in range(THREAD_TILE):
                put(target, first_row + own_row(i), first_column + own_column(j), sums[i, j], sizes)

    return product


forward_product = make_product(load_x, swapped(load_weight), put_y, True, False)
d_x_product = make_product(load_dy, load_weight, put_d_x, True, True)
d_weight_product = make_product(swapped(load_x), swapped(load_dy), put_d_weight, False, False)


@forward("cuda", over="y", grid=_forward_grid, threads=THREADS, writes="y", when={"bias": True})
def forward_cuda(x, weight, bias, y, sizes: Sizes):
    sums, terms = cuda.local.array(SUMS_SHAPE, x.dtype), sizes.pixels * sizes.depth
    start_from_bias(sums, bias, sizes.units // sizes.groups)
    forward_product(x, weight, y, sums, cuda.blockIdx.x * BLOCK, cuda.blockIdx.y * BLOCK, terms, sizes)


@forward("cuda", over="y", grid=_forward_grid, threads=THREADS, writes="y", when={"bias": False})
def forward_unbiased_cuda(x, weight, y, sizes: Sizes):
    sums, terms = cuda.local.array(SUMS_SHAPE, x.dtype), sizes.pixels * sizes.depth
    clear(sums)
    forward_product(x, weight, y, sums, cuda.blockIdx.x * BLOCK, cuda.blockIdx.y * BLOCK, terms, sizes)


@backward("cuda", over="d_x", grid=_d_x_grid, threads=THREADS, writes="d_x")
def d_x_cuda(weight, dy, d_x, sizes: Sizes):
    sums, terms = cuda.local.array(SUMS_SHAPE, dy.dtype), sizes.units // sizes.groups
    clear(sums)
    d_x_product(dy, weight, d_x, sums, cuda.blockIdx.y * BLOCK, cuda.blockIdx.x * BLOCK, terms, sizes)


@backward("cuda", over="d_weight", grid=_d_weight_grid, threads=THREADS, writes="d_weight")
def d_weight_cuda(x, dy, d_weight, sizes: Sizes):
    sums = cuda.local.array(SUMS_SHAPE, x.dtype)
    clear(sums)
    d_weight_product(x, dy, d_weight, sums, cuda.blockIdx.x * BLOCK, cuda.blockIdx.y * BLOCK, x.shape[0], sizes)


PLAIN = Variant(
    "plain",
    kernels=(forward_cuda, forward_unbiased_cuda, d_x_cuda, d_weight_cuda, *column_sums.BIAS),
    workspace=lambda layer, t, direction: column_sums.workspace(t) if direction == "backward" else {},
    scalars=column_sums.scalars,
)
