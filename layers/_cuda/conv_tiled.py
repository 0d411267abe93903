"""Convolution in CUDA without tensor cores: implicit GEMM, whose operands are read from the images stage by stage."""

from netspec.layers._batch_chunks import chunks
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
    advance,
    blocks,
    clear,
    multiply,
    own_column,
    own_row,
    start_from_bias,
    unravel,
)
from netspec.layers._window import Window
from netspec.plugin import Variant, Workspace, backward, cuda, device, epilogue, finish, forward, put_others


def _groups(t):
    return t.x.shape[3] // t.weight.shape[2]


def _forward_grid(t):
    return blocks(t.y.size // t.y.shape[3]), blocks(t.y.shape[3] // _groups(t)), _groups(t)


def _d_x_grid(t):
    return blocks(t.x.size // t.x.shape[3]), blocks(t.weight.shape[2]), _groups(t)


def _d_weight_grid(t):
    filters = t.weight.shape[3]
    return blocks(t.weight.size // filters), blocks(filters // _groups(t)), _groups(t) * chunks(t.x.shape[0])


@device
def pixel_or_zero(x, n, ih, iw, c):
    """x[n, ih, iw, c], or zero outside the batch and the image."""
    if 0 <= ih and ih < x.shape[1] and 0 <= iw and iw < x.shape[2] and n < x.shape[0]:
        return x[n, ih, iw, c]
    return 0.0


@device
def convolve(x, weight, y, sums, groups, window, operands):
    """Add this block's windows to its threads' sums, stage by stage, and store them."""
    a, b = cuda.shared.array(A_SHAPE, x.dtype), cuda.shared.array(B_SHAPE, x.dtype)
    thread, pixels, filters, group = cuda.threadIdx.x, cuda.blockIdx.x * BLOCK, cuda.blockIdx.y * BLOCK, cuda.blockIdx.z
    size_h, size_w, depth, share = weight.shape[0], weight.shape[1], weight.shape[2], weight.shape[3] // groups
    row, first, column, f = thread // 2, thread % 2 * LOADS_PER_THREAD, thread % BLOCK, filters + thread % BLOCK
    n, oh, ow = unravel(pixels + row, y.shape[1], y.shape[2])
    top, left = oh * window.stride_h - window.pad_top, ow * window.stride_w - window.pad_left
    for stage in range(0, size_h * size_w * depth, BLOCK_K):
        i, j, c = unravel(stage + first, size_w, depth)
        for k in range(first, first + LOADS_PER_THREAD):
            ih, iw = top + i * window.dilation_h, left + j * window.dilation_w
            a[row, k] = pixel_or_zero(x, n, ih, iw, group * depth + c) if i < size_h else 0.0
            i, j, c = advance(i, j, c, 1, size_w, depth)
        i, j, c = unravel(stage + thread // BLOCK, size_w, depth)
        for k in range(thread // BLOCK, BLOCK_K, 2):
            b[k, column] = weight[i, j, c, group * share + f] if i < size_h and f < share else 0.0
            i, j, c = advance(i, j, c, 2, size_w, depth)
        cuda.syncthreads()
        multiply(a, b, sums)
        cuda.syncthreads()
    for i in range(THREAD_TILE):
        n, oh, ow = unravel(pixels + own_row(i), y.shape[1], y.shape[2])
        for j in range(THREAD_TILE):
            f, own = filters + own_column(j), group * share + filters + own_column(j)
            if n < y.shape[0] and f < share:
                index = (pixels + own_row(i)) * y.shape[3] + own
                values = finish(sums[i, j], 0.0, 0.0, 0.0, index, 1, False, operands)
                y[n, oh, ow, own] = values[0]
                put_others(values, index, 1, False, operands)


@forward("cuda", over="y", grid=_forward_grid, threads=THREADS, writes="y", when={"bias": True})
def forward_cuda(x, weight, bias, y, groups, window: Window, *operands):
    sums = cuda.local.array(SUMS_SHAPE, x.dtype)
    start_from_bias(sums, bias, weight.shape[3] // groups)
    convolve(x, weight, y, sums, groups, window, operands)


@forward("cuda", over="y", grid=_forward_grid, threads=THREADS, writes="y", when={"bias": False})
def forward_unbiased_cuda(x, weight, y, groups, window: Window, *operands):
    sums = cuda.local.array(SUMS_SHAPE, x.dtype)
    clear(sums)
    convolve(x, weight, y, sums, groups, window, operands)


@device
def gradient_or_zero(dy, n, h, w, window, f):
    """dy of the window that starts at pixel (h, w), counted with padding; zero where no window starts."""
    if h < 0 or w < 0 or h % window.stride_h or w % window.stride_w:
        return 0.0
    return pixel_or_zero(dy, n, h // window.stride_h, w // window.stride_w, f)


@device
def spread(weight, dy, d_x, sums, groups, window):
    """Add to this block's threads' sums what its pixels of d_x get from all windows, stage by stage, and store them."""
    a, b = cuda.shared.array(A_SHAPE, dy.dtype), cuda.shared.array(B_SHAPE, dy.dtype)
    thread, pixels, channels = cuda.threadIdx.x, cuda.blockIdx.x * BLOCK, cuda.blockIdx.y * BLOCK
    size_h, size_w, depth, share = weight.shape[0], weight.shape[1], weight.shape[2], weight.shape[3] // groups
    group, row, first, c = cuda.blockIdx.z, thread // 2, thread % 2 * LOADS_PER_THREAD, channels + thread // 2
    n, ih, iw = unravel(pixels + row, d_x.shape[1], d_x.shape[2])
    h, w = ih + window.pad_top, iw + window.pad_left
    for stage in range(0, size_h * size_w * share, BLOCK_K):
        i, j, f = unravel(stage + first, size_w, share)
        for k in range(first, first + LOADS_PER_THREAD):
            inside = i < size_h
            oh, ow = h - i * window.dilation_h, w - j * window.dilation_w
            a[row, k] = gradient_or_zero(dy, n, oh, ow, window, group * share + f) if inside else 0.0
            b[k, row] = weight[i, j, c, group * share + f] if inside and c < depth else 0.0
            i, j, f = advance(i, j, f, 1, size_w, share)
        cuda.syncthreads()
        multiply(a, b, sums)
        cuda.syncthreads()
    for i in range(THREAD_TILE):
        n, ih, iw = unravel(pixels + own_row(i), d_x.shape[1], d_x.shape[2])
        for j in range(THREAD_TILE):
            c = channels + own_column(j)
            if n < d_x.shape[0] and c < depth:
                d_x[n, ih, iw, group * depth + c] = epilogue(sums[i, j])


@backward("cuda", over="d_x", grid=_d_x_grid, threads=THREADS, writes="d_x")
def d_x_cuda(weight, dy, d_x, groups, window: Window):
    sums = cuda.local.array(SUMS_SHAPE, dy.dtype)
    clear(sums)
    spread(weight, dy, d_x, sums, groups, window)


@device
def weigh(x, dy, partials, chunk_images, groups, window):
    """This block's part of the weights' gradient, of a chunk of the images."""
    a, b = cuda.shared.array(A_SHAPE, x.dtype), cuda.shared.array(B_SHAPE, x.dtype)
    sums = cuda.local.array(SUMS_SHAPE, x.dtype)
    thread, patch, filters = cuda.threadIdx.x, cuda.blockIdx.x * BLOCK, cuda.blockIdx.y * BLOCK
    group, chunk = cuda.blockIdx.z % groups, cuda.blockIdx.z // groups
    depth, share, image = x.shape[3] // groups, dy.shape[3] // groups, dy.shape[1] * dy.shape[2]
    lane, f = thread % BLOCK, filters + thread % BLOCK
    i, j, c = unravel(patch + lane, window.size_w, depth)
    last = min((chunk + 1) * chunk_images, x.shape[0])
    clear(sums)
    for stage in range(chunk * chunk_images * image, last * image, BLOCK_K):
        n, oh, ow = unravel(stage + thread // BLOCK, dy.shape[1], dy.shape[2])
        for k in range(thread // BLOCK, BLOCK_K, 2):
            ih = oh * window.stride_h - window.pad_top + i * window.dilation_h
            iw = ow * window.stride_w - window.pad_left + j * window.dilation_w
            inside = n < last
            a[lane, k] = pixel_or_zero(x, n, ih, iw, group * depth + c) if inside and i < window.size_h else 0.0
            b[k, lane] = dy[n, oh, ow, group * share + f] if inside and f < share else 0.0
            n, oh, ow = advance(n, oh, ow, 2, dy.shape[1], dy.shape[2])
        cuda.syncthreads()
        multiply(a, b, sums)
        cuda.syncthreads()
    for i in range(THREAD_TILE):
        m = patch + own_row(i)
        for j in range(THREAD_TILE):
            f = filters + own_column(j)
            if m < window.size_h * window.size_w * depth and f < share:
                partials[chunk, m * dy.shape[3] + group * share + f] = sums[i, j]


@backward("cuda", over="partials", grid=_d_weight_grid, threads=THREADS, writes="partials")
def d_weight_chunk_cuda(x, dy, partials, chunk_images, groups, window: Window):
    weigh(x, dy, partials, chunk_images, groups, window)


def _workspace(layer, t, direction):
    if direction == "forward":
        return {}
    partials = Workspace((chunks(t.x.shape[0]), t.weight.size))
    return {"partials": partials, **column_sums.workspace(t)}


PLAIN = Variant(
    "plain",
    kernels=(forward_cuda, forward_unbiased_cuda, d_x_cuda, d_weight_chunk_cuda, *column_sums.KERNELS),
    workspace=_workspace,
    scalars=column_sums.scalars,
)
