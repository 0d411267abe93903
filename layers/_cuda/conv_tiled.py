"""Convolution in CUDA: implicit matrix products, whose operands are read from the images while slabs are filled."""

from netspec.layers._cpu.im2col import chunks
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
    place,
    start,
    step,
    tiles,
)
from netspec.plugin import backward, cuda, device, epilogue, forward


def _groups(t):
    return t.x.shape[3] // t.weight.shape[2]


def _forward_grid(t):
    return tiles(t.y.size // t.y.shape[3]), tiles(t.y.shape[3] // _groups(t)), _groups(t)


def _d_x_grid(t):
    return tiles(t.x.size // t.x.shape[3]), tiles(t.weight.shape[2]), _groups(t)


def _d_weight_grid(t):
    filters = t.weight.shape[3]
    return tiles(t.weight.size // filters), tiles(filters // _groups(t)), _groups(t) * chunks(t.x.shape[0])


@device
def pixel_or_zero(x, n, ih, iw, c):
    """x[n, ih, iw, c], or zero outside the batch and the image."""
    if 0 <= ih and ih < x.shape[1] and 0 <= iw and iw < x.shape[2] and n < x.shape[0]:
        return x[n, ih, iw, c]
    return 0.0


@device
def convolve(x, weight, y, sums, groups, stride_h, stride_w, pad_top, pad_left):
    """Add this block's windows to its threads' sums, tile by tile, and store them."""
    left = cuda.shared.array(LEFT, x.dtype)
    right = cuda.shared.array(RIGHT, x.dtype)
    thread, pixels, filters, group = cuda.threadIdx.x, cuda.blockIdx.x * TILE, cuda.blockIdx.y * TILE, cuda.blockIdx.z
    size_h, size_w, depth, share = weight.shape[0], weight.shape[1], weight.shape[2], weight.shape[3] // groups
    row, first, column, f = thread // 2, thread % 2 * RUN, thread % TILE, filters + thread % TILE
    n, oh, ow = place(pixels + row, y.shape[1], y.shape[2])
    top, at_left = oh * stride_h - pad_top, ow * stride_w - pad_left
    for slab in range(0, size_h * size_w * depth, SLAB):
        i, j, c = place(slab + first, size_w, depth)
        for k in range(first, first + RUN):
            left[row, k] = pixel_or_zero(x, n, top + i, at_left + j, group * depth + c) if i < size_h else 0.0
            i, j, c = step(i, j, c, 1, size_w, depth)
        i, j, c = place(slab + thread // TILE, size_w, depth)
        for k in range(thread // TILE, SLAB, 2):
            right[k, column] = weight[i, j, c, group * share + f] if i < size_h and f < share else 0.0
            i, j, c = step(i, j, c, 2, size_w, depth)
        cuda.syncthreads()
        multiply(left, right, sums)
        cuda.syncthreads()
    for a in range(SUMS):
        n, oh, ow = place(pixels + thread // PER_SIDE + PER_SIDE * a, y.shape[1], y.shape[2])
        for b in range(SUMS):
            f = filters + thread % PER_SIDE + PER_SIDE * b
            if n < y.shape[0] and f < share:
                y[n, oh, ow, group * share + f] = epilogue(sums[a, b])


@forward("cuda", over="y", grid=_forward_grid, threads=THREADS, writes="y", when={"bias": True})
def forward_cuda(x, weight, bias, y, groups, stride_h, stride_w, pad_top, pad_left):
    sums = cuda.local.array(OWN, x.dtype)
    share = weight.shape[3] // groups
    start(sums, bias, cuda.blockIdx.z * share + cuda.blockIdx.y * TILE, (cuda.blockIdx.z + 1) * share)
    convolve(x, weight, y, sums, groups, stride_h, stride_w, pad_top, pad_left)


@forward("cuda", over="y", grid=_forward_grid, threads=THREADS, writes="y", when={"bias": False})
def forward_unbiased_cuda(x, weight, y, groups, stride_h, stride_w, pad_top, pad_left):
    sums = cuda.local.array(OWN, x.dtype)
    clear(sums)
    convolve(x, weight, y, sums, groups, stride_h, stride_w, pad_top, pad_left)


@device
def gradient_or_zero(dy, n, h, w, stride_h, stride_w, f):
    """dy of the window that starts at pixel (h, w), counted with padding; zero where no window starts."""
    if h < 0 or w < 0 or h % stride_h or w % stride_w:
        return 0.0
    return pixel_or_zero(dy, n, h // stride_h, w // stride_w, f)


@backward("cuda", over="d_x", grid=_d_x_grid, threads=THREADS, writes="d_x")
def d_x_cuda(weight, dy, d_x, groups, stride_h, stride_w, pad_top, pad_left):
    left = cuda.shared.array(LEFT, dy.dtype)
    right = cuda.shared.array(RIGHT, dy.dtype)
    sums = cuda.local.array(OWN, dy.dtype)
    thread, pixels, channels, group = cuda.threadIdx.x, cuda.blockIdx.x * TILE, cuda.blockIdx.y * TILE, cuda.blockIdx.z
    size_h, size_w, depth, share = weight.shape[0], weight.shape[1], weight.shape[2], weight.shape[3] // groups
    row, first, c = thread // 2, thread % 2 * RUN, channels + thread // 2
    n, ih, iw = place(pixels + row, d_x.shape[1], d_x.shape[2])
    h, w = ih + pad_top, iw + pad_left
    clear(sums)
    for slab in range(0, size_h * size_w * share, SLAB):
        i, j, f = place(slab + first, size_w, share)
        for k in range(first, first + RUN):
            inside = i < size_h
            left[row, k] = (
                gradient_or_zero(dy, n, h - i, w - j, stride_h, stride_w, group * share + f) if inside else 0.0
            )
            right[k, row] = weight[i, j, c, group * share + f] if inside and c < depth else 0.0
            i, j, f = step(i, j, f, 1, size_w, share)
        cuda.syncthreads()
        multiply(left, right, sums)
        cuda.syncthreads()
    for a in range(SUMS):
        n, ih, iw = place(pixels + thread // PER_SIDE + PER_SIDE * a, d_x.shape[1], d_x.shape[2])
        for b in range(SUMS):
            c = channels + thread % PER_SIDE + PER_SIDE * b
            if n < d_x.shape[0] and c < depth:
                d_x[n, ih, iw, group * depth + c] = sums[a, b]


@backward("cuda", over="partials", grid=_d_weight_grid, threads=THREADS, writes="partials")
def d_weight_chunk_cuda(x, dy, partials, images, groups, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
    left = cuda.shared.array(LEFT, x.dtype)
    right = cuda.shared.array(RIGHT, x.dtype)
    sums = cuda.local.array(OWN, x.dtype)
    thread, patch, filters = cuda.threadIdx.x, cuda.blockIdx.x * TILE, cuda.blockIdx.y * TILE
    group, chunk = cuda.blockIdx.z % groups, cuda.blockIdx.z // groups
    depth, share, image = x.shape[3] // groups, dy.shape[3] // groups, dy.shape[1] * dy.shape[2]
    column, f = thread % TILE, filters + thread % TILE
    i, j, c = place(patch + column, size_w, depth)
    last = min((chunk + 1) * images, x.shape[0])
    clear(sums)
    for slab in range(chunk * images * image, last * image, SLAB):
        n, oh, ow = place(slab + thread // TILE, dy.shape[1], dy.shape[2])
        for k in range(thread // TILE, SLAB, 2):
            ih, iw, inside = oh * stride_h - pad_top + i, ow * stride_w - pad_left + j, n < last
            left[column, k] = pixel_or_zero(x, n, ih, iw, group * depth + c) if inside and i < size_h else 0.0
            right[k, column] = dy[n, oh, ow, group * share + f] if inside and f < share else 0.0
            n, oh, ow = step(n, oh, ow, 2, dy.shape[1], dy.shape[2])
        cuda.syncthreads()
        multiply(left, right, sums)
        cuda.syncthreads()
    for a in range(SUMS):
        m = patch + thread // PER_SIDE + PER_SIDE * a
        for b in range(SUMS):
            f = filters + thread % PER_SIDE + PER_SIDE * b
            if m < size_h * size_w * depth and f < share:
                partials[chunk, m * dy.shape[3] + group * share + f] = sums[a, b]
