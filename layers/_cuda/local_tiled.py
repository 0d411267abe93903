"""Locally connected layers in CUDA: at each position a product of matrices, in tiles that pass through shared memory.

A block has a tile of 32 x 64 results, of which each of its 128 threads computes 4 x 4. Weights are what such a layer
consists of: each is read once for 32 images. Places outside the image are left out for the whole block.
"""

from typing import NamedTuple

from netspec.layers._window import Window
from netspec.plugin import Lazy, Variant, backward, cuda, device, forward, load4

np = Lazy("numpy")
THREADS, ROWS, COLUMNS, BLOCK_K, PITCH = 128, 32, 64, 16, 36
"""Threads of a block, its tile, terms of a stage, and elements from term to term of the left operand."""
LEFT, RIGHT = BLOCK_K * PITCH, BLOCK_K * COLUMNS
"""Elements of both operands in shared memory."""
FILTERS, THREADS_PER_FILTER = 32, 16
"""Filters of a block that sums a shared bias's gradient, and threads for each of them."""
PER_OUTPUT, SHARED = {"bias": True, "shared_bias": False}, {"bias": True, "shared_bias": True}


class Shape(NamedTuple):
    """x's height, width and channels; y's width and channels; channels of a group."""

    height: int
    width: int
    channels: int
    out_w: int
    filters: int
    depth: int


def _scalars(layer, t):
    return {"shape": Shape(*t.x.shape[1:], *t.y.shape[2:], t.weight.shape[4])}


def tiles(count, size):
    """Tiles for so many rows or columns."""
    return -(-count // size)


def outputs(t):
    """Blocks for y: positions, filters of all groups, images."""
    groups = t.x.shape[3] // t.weight.shape[4]
    return t.y.shape[1] * t.y.shape[2], groups * tiles(t.y.shape[3] // groups, COLUMNS), tiles(t.x.shape[0], ROWS)


def inputs(t):
    """Blocks for x: pixels, channels of all groups, images."""
    depth = t.weight.shape[4]
    return t.x.shape[1] * t.x.shape[2], t.x.shape[3] // depth * tiles(depth, COLUMNS), tiles(t.x.shape[0], ROWS)


def weights(t):
    """Blocks for the weights: positions with their pixels, filters of all groups, channels of a group."""
    groups, depth = t.x.shape[3] // t.weight.shape[4], t.weight.shape[4]
    share = t.y.shape[3] // groups
    pixels = t.weight.shape[2] * t.weight.shape[3]
    return t.y.shape[1] * t.y.shape[2] * pixels, groups * tiles(share, COLUMNS), tiles(depth, ROWS)


def filter_blocks(t):
    """Blocks for the filters."""
    return (tiles(t.y.shape[3], FILTERS),)


# A tile's product ---------------------------------------------------------------------------------------------------


@device
def fill(tile, pitch, rows, source, base, step_row, step_term, count, terms, along_terms):
    """tile[term * pitch + row] = source[base + row * step_row + term * step_term], zeros from ``count`` rows on.

    Neighbouring threads take neighbours in memory: terms where ``along_terms``, else rows.
    """
    for i in range(cuda.threadIdx.x, rows * BLOCK_K, THREADS):
        row, term = (i // BLOCK_K, i % BLOCK_K) if along_terms else (i % rows, i // rows)
        if term < terms:
            tile[term * pitch + row] = (
                source[np.uint64(base + row * step_row + term * step_term)] if row < count else 0.0
            )


@device
def plus(sums, a, b):
    """A row of four sums, a * b added."""
    return sums[0] + a * b[0], sums[1] + a * b[1], sums[2] + a * b[2], sums[3] + a * b[3]


@device
def multiply(left, right, terms, sums):
    """A thread's 4 x 4 sums with the terms in the tiles added."""
    row, column = 4 * (cuda.threadIdx.x // 16), 4 * (cuda.threadIdx.x % 16)
    p, q, r, s = sums
    for term in range(terms):
        a, b = load4(left, term * PITCH + row), load4(right, term * COLUMNS + column)
        p, q, r, s = plus(p, a[0], b), plus(q, a[1], b), plus(r, a[2], b), plus(s, a[3], b)
    return p, q, r, s


@device
def put(target, base, step, sums, rows, columns):
    """Write a thread's part of a tile: rows ``step`` apart, columns side by side."""
    row, column = 4 * (cuda.threadIdx.x // 16), 4 * (cuda.threadIdx.x % 16)
    for i in range(min(4, rows - row)):
        part = sums[0] if i == 0 else (sums[1] if i == 1 else (sums[2] if i == 2 else sums[3]))
        for j in range(min(4, columns - column)):
            value = part[0] if j == 0 else (part[1] if j == 1 else (part[2] if j == 2 else part[3]))
            target[np.uint64(base + (row + i) * step + column + j)] = value


@device
def split(place, size):
    """Group, and first column in the group, of a block's tile, where groups have so many columns."""
    count = (size + COLUMNS - 1) // COLUMNS
    return place // count, place % count * COLUMNS


@device
def zeros():
    """A thread's sums at the start."""
    none = (0.0, 0.0, 0.0, 0.0)
    return none, none, none, none


# Passes -------------------------------------------------------------------------------------------------------------


@device
def convolved(left, right, x, weight, shape, window):
    """The sums of a block's position: pixels of its window that lie inside, their channels in parts."""
    height, width, channels, out_w, filters, depth = shape
    size_h, size_w, stride_h, stride_w, pad_top, pad_left = window[:6]
    position, first = cuda.blockIdx.x, cuda.blockIdx.z * ROWS
    g, column = split(cuda.blockIdx.y, filters * depth // channels)
    f = g * (filters * depth // channels) + column
    images, columns = x.size // (height * width * channels) - first, filters * depth // channels - column
    top, left_pixel = position // out_w * stride_h - pad_top, position % out_w * stride_w - pad_left
    sums = zeros()
    for pixel in range(size_h * size_w):
        h, w = top + pixel // size_w, left_pixel + pixel % size_w
        if 0 <= h < height and 0 <= w < width:
            for c in range(0, depth, BLOCK_K):
                terms = min(BLOCK_K, depth - c)
                source = ((first * height + h) * width + w) * channels + g * depth + c
                fill(left, PITCH, ROWS, x, source, height * width * channels, 1, images, terms, True)
                source = ((position * size_h * size_w + pixel) * depth + c) * filters + f
                fill(right, COLUMNS, COLUMNS, weight, source, 1, filters, columns, terms, False)
                cuda.syncthreads()
                sums = multiply(left, right, terms, sums)
                cuda.syncthreads()
    return sums, (f, images, columns)


@device
def with_bias(sums, bias, first, columns):
    """The sums with their columns' biases."""
    column = 4 * (cuda.threadIdx.x % 16)
    a = bias[np.uint64(first + column)] if column < columns else 0.0
    b = bias[np.uint64(first + column + 1)] if column + 1 < columns else 0.0
    c = bias[np.uint64(first + column + 2)] if column + 2 < columns else 0.0
    d = bias[np.uint64(first + column + 3)] if column + 3 < columns else 0.0
    row, (p, q, r, s) = (a, b, c, d), sums
    return plus(p, 1.0, row), plus(q, 1.0, row), plus(r, 1.0, row), plus(s, 1.0, row)


@forward("cuda", over="y", grid=outputs, threads=THREADS, linear=True, writes="y", when={"bias": True})
def forward_cuda(x, weight, bias, y, shape: Shape, window: Window):
    """One position of 32 images."""
    left = cuda.shared.array(LEFT, x.dtype)
    right = cuda.shared.array(RIGHT, x.dtype)
    sums, (f, images, columns) = convolved(left, right, x, weight, shape, window)
    filters, positions = shape.filters, cuda.gridDim.x
    apart = cuda.blockIdx.x * filters if bias.size > filters else 0
    base = (cuda.blockIdx.z * ROWS * positions + cuda.blockIdx.x) * filters + f
    put(y, base, positions * filters, with_bias(sums, bias, apart + f, columns), images, columns)


@forward("cuda", over="y", grid=outputs, threads=THREADS, linear=True, writes="y", when={"bias": False})
def forward_unbiased_cuda(x, weight, y, shape: Shape, window: Window):
    """The same without a bias."""
    left = cuda.shared.array(LEFT, x.dtype)
    right = cuda.shared.array(RIGHT, x.dtype)
    sums, (f, images, columns) = convolved(left, right, x, weight, shape, window)
    filters, positions = shape.filters, cuda.gridDim.x
    base = (cuda.blockIdx.z * ROWS * positions + cuda.blockIdx.x) * filters + f
    put(y, base, positions * filters, sums, images, columns)


@backward("cuda", over="d_x", grid=inputs, threads=THREADS, linear=True, writes="d_x")
def d_x_cuda(weight, dy, d_x, shape: Shape, window: Window):
    """One pixel of 32 images: the windows that it lies in, their filters in parts."""
    left = cuda.shared.array(LEFT, dy.dtype)
    right = cuda.shared.array(RIGHT, dy.dtype)
    height, width, channels, out_w, filters, depth = shape
    size_h, size_w, stride_h, stride_w, pad_top, pad_left = window[:6]
    here, first = cuda.blockIdx.x, cuda.blockIdx.z * ROWS
    g, column = split(cuda.blockIdx.y, depth)
    positions, share = weight.size // (size_h * size_w * depth * filters), filters * depth // channels
    images, columns = d_x.size // (height * width * channels) - first, depth - column
    sums = zeros()
    for pixel in range(size_h * size_w):
        h, w = here // width + pad_top - pixel // size_w, here % width + pad_left - pixel % size_w
        oh, ow = h // stride_h, w // stride_w
        on = h % stride_h == 0 and w % stride_w == 0 and 0 <= oh < positions // out_w and 0 <= ow < out_w
        if on:
            position = oh * out_w + ow
            for f in range(g * share, (g + 1) * share, BLOCK_K):
                terms = min(BLOCK_K, (g + 1) * share - f)
                source = (first * positions + position) * filters + f
                fill(left, PITCH, ROWS, dy, source, positions * filters, 1, images, terms, True)
                source = ((position * size_h * size_w + pixel) * depth + column) * filters + f
                fill(right, COLUMNS, COLUMNS, weight, source, filters, 1, columns, terms, True)
                cuda.syncthreads()
                sums = multiply(left, right, terms, sums)
                cuda.syncthreads()
    base = (first * height * width + here) * channels + g * depth + column
    put(d_x, base, height * width * channels, sums, images, columns)


@backward("cuda", over="d_weight", grid=weights, threads=THREADS, linear=True, writes="d_weight")
def d_weight_cuda(x, dy, d_weight, shape: Shape, window: Window):
    """One pixel of one position's windows: channels by filters, the images in parts."""
    left = cuda.shared.array(LEFT, x.dtype)
    right = cuda.shared.array(RIGHT, x.dtype)
    height, width, channels, out_w, filters, depth = shape
    size_h, size_w, stride_h, stride_w, pad_top, pad_left = window[:6]
    position, row = cuda.blockIdx.x // (size_h * size_w), cuda.blockIdx.z * ROWS
    pixel = cuda.blockIdx.x % (size_h * size_w)
    share = filters * depth // channels
    g, column = split(cuda.blockIdx.y, share)
    rows, columns, area = depth - row, share - column, height * width * channels
    positions, images, f = cuda.gridDim.x // (size_h * size_w), x.size // area, g * share + column
    h = position // out_w * stride_h - pad_top + pixel // size_w
    w = position % out_w * stride_w - pad_left + pixel % size_w
    sums = zeros()
    if 0 <= h < height and 0 <= w < width:
        for n in range(0, images, BLOCK_K):
            terms = min(BLOCK_K, images - n)
            source = n * area + (h * width + w) * channels + g * depth + row
            fill(left, PITCH, ROWS, x, source, 1, area, rows, terms, False)
            source = (n * positions + position) * filters + f
            fill(right, COLUMNS, COLUMNS, dy, source, 1, positions * filters, columns, terms, False)
            cuda.syncthreads()
            sums = multiply(left, right, terms, sums)
            cuda.syncthreads()
    put(d_weight, (cuda.blockIdx.x * depth + row) * filters + f, filters, sums, rows, columns)


@backward("cuda", over="d_bias", linear=True, writes="d_bias", when=PER_OUTPUT)
def d_bias_cuda(dy, d_bias):
    """One bias a thread, summed over the images."""
    i = cuda.grid(1)
    if i < d_bias.size:
        total = 0.0
        for n in range(dy.size // d_bias.size):
            total += dy[np.uint64(n * d_bias.size + i)]
        d_bias[i] = total


@backward("cuda", over="d_bias", grid=filter_blocks, threads=(FILTERS, THREADS_PER_FILTER), linear=True,
          writes="d_bias", when=SHARED)  # fmt: skip
def d_shared_bias_cuda(dy, d_bias):
    """A filter's bias summed over images and positions: sixteen threads take every sixteenth of them."""
    sums = cuda.shared.array((THREADS_PER_FILTER, FILTERS), dy.dtype)
    lane, part, filters = cuda.threadIdx.x, cuda.threadIdx.y, d_bias.size
    f, total = cuda.blockIdx.x * FILTERS + lane, 0.0
    if f < filters:
        for i in range(part, dy.size // filters, THREADS_PER_FILTER):
            total += dy[np.uint64(i * filters + f)]
    sums[part, lane] = total
    cuda.syncthreads()
    if part == 0 and f < filters:
        for other in range(1, THREADS_PER_FILTER):
            total += sums[other, lane]
        d_bias[f] = total


PLAIN = Variant(
    "plain",
    kernels=(forward_cuda, forward_unbiased_cuda, d_x_cuda, d_weight_cuda, d_bias_cuda, d_shared_bias_cuda),
    scalars=_scalars,
)
