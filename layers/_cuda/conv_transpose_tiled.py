"""Transposed convolution in CUDA: the gradients of a convolution by conv_tiled, each in another's place.

That convolution reads y and gives x; its weights are this layer's with channels and filters exchanged, (KH, KW,
filters / groups, C), which the first pass lays out.
"""

from netspec.layers._batch_chunks import chunk_images, chunks
from netspec.layers._cpu.conv_transpose_gemm import turned_workspace
from netspec.layers._cuda import column_sums
from netspec.layers._cuda.conv_tiled import convolve, spread, weigh
from netspec.layers._cuda.gemm_block_tile import SUMS_SHAPE, THREADS, blocks, clear, start_from_bias
from netspec.layers._window import Window
from netspec.plugin import Variant, Workspace, backward, cuda, forward

FLAT = 256
"""Threads of a block with a weight each."""


def _groups(t):
    return t.x.shape[3] // t.weight.shape[2]


def _forward_grid(t):
    return blocks(t.y.size // t.y.shape[3]), blocks(t.y.shape[3] // _groups(t)), _groups(t)


def _d_x_grid(t):
    return blocks(t.x.size // t.x.shape[3]), blocks(t.weight.shape[2]), _groups(t)


def _d_weight_grid(t):
    groups = _groups(t) * chunks(t.x.shape[0])
    return blocks(t.weight.size // t.x.shape[3]), blocks(t.weight.shape[2]), groups


def turn_cuda(weight, turned, groups):
    place = cuda.grid(1)
    filters, channels = weight.shape[3], turned.shape[3]
    share, depth, c, rest = filters // groups, channels // groups, place % channels, place // channels
    f, tap, g = rest % share, rest // share, c // depth
    if place < turned.size:
        i, j = tap // weight.shape[1], tap % weight.shape[1]
        turned[i, j, f, c] = weight[i, j, c - g * depth, g * share + f]


_EVERY = {"over": "turned", "axes": (0, 1, 2, 3), "writes": "turned", "threads": FLAT}
TURN = tuple(mark("cuda", **_EVERY)(turn_cuda) for mark in (forward, backward))


@forward("cuda", over="y", grid=_forward_grid, threads=THREADS, writes="y", when={"bias": True})
def forward_cuda(x, turned, bias, y, groups, window: Window):
    sums = cuda.local.array(SUMS_SHAPE, x.dtype)
    start_from_bias(sums, bias, turned.shape[2])
    spread(turned, x, y, sums, groups, window)


@forward("cuda", over="y", grid=_forward_grid, threads=THREADS, writes="y", when={"bias": False})
def forward_unbiased_cuda(x, turned, y, groups, window: Window):
    sums = cuda.local.array(SUMS_SHAPE, x.dtype)
    clear(sums)
    spread(turned, x, y, sums, groups, window)


@backward("cuda", over="d_x", grid=_d_x_grid, threads=THREADS, writes="d_x")
def d_x_cuda(turned, dy, d_x, groups, window: Window):
    sums = cuda.local.array(SUMS_SHAPE, dy.dtype)
    clear(sums)
    convolve(dy, turned, d_x, sums, groups, window, 0)


@backward("cuda", over="partials", grid=_d_weight_grid, threads=THREADS, writes="partials")
def d_weight_chunk_cuda(x, dy, partials, chunk_images, groups, window: Window):
    weigh(dy, x, partials, chunk_images, groups, window)


@backward("cuda", over="d_weight", axes=(0, 1, 2, 3), threads=FLAT, writes="d_weight")
def d_weight_turned_cuda(partials, d_weight, groups):
    place, depth, filters = cuda.grid(1), d_weight.shape[2], d_weight.shape[3]
    share, f, rest = filters // groups, place % filters, place // filters
    c, tap, g = rest % depth, rest // depth, f // share
    if place < d_weight.size:
        at = (tap * share + f - g * share) * depth * groups + g * depth + c
        total = partials[0, at]
        for chunk in range(1, partials.shape[0]):
            total += partials[chunk, at]
        d_weight[tap // d_weight.shape[1], tap % d_weight.shape[1], c, f] = total


def _workspace(layer, t, direction):
    if direction == "forward":
        return turned_workspace(t)
    partials = Workspace((chunks(t.x.shape[0]), t.weight.size))
    return {"partials": partials, **turned_workspace(t), **column_sums.workspace(t)}


def _scalars(layer, t):
    return {"chunk_images": chunk_images(t.x.shape[0]), **column_sums.scalars(layer, t)}


PLAIN = Variant(
    "plain",
    kernels=(
        TURN[0],
        forward_cuda,
        forward_unbiased_cuda,
        TURN[1],
        d_x_cuda,
        d_weight_chunk_cuda,
        d_weight_turned_cuda,
        *column_sums.BIAS,
    ),
    workspace=_workspace,
    scalars=_scalars,
)
