"""Convolution on CPUs by Winograd's F(4x4, 3x3): the passes of the variant ``winograd`` (Lavin and Gray 2016).

A 3 x 3 convolution without a stride takes 2.25 products a result in place of 9, less what tiles over ragged edges
waste. d_x is the same with flipped filters, the weight gradient is the algorithm transposed.
"""

from netspec.layers._batch_chunks import chunk_images
from netspec.layers._cpu import bias_row, split_batch
from netspec.layers._cpu.implicit_gemm import MAX_MR, MAX_NR
from netspec.layers._cpu.winograd import (
    GAP,
    MAX_LANES,
    POINTS,
    TILE,
    TILES_AT_ONCE,
    TILES_OF_GRADIENT,
    convolve,
    correlate,
    tiles,
    transform_filters,
    whole_vectors,
)
from netspec.layers._window import Window
from netspec.plugin import Variant, Workspace, backward, forward

BOUND = 2e-5
"""Error of each kernel. Seen: 2e-6 on random numbers, 1.3e-5 where all are equal and rounding errors add up."""
FEWEST, LEAST, MANY, ENOUGH = 16, 6, 24, 16
"""Channels and filters of a group, results of a tile (of 16) and tiles of a batch from which on the transforms pay;
fewer tiles are enough where filters are transformed once for many batches."""


def _supports(layer, t):
    """Whether it can run these shapes, and is likely to be faster there than the variant ``direct``."""
    window = layer.window(t)
    fits = t.x.dtype == "float32" and window.size == (3, 3) and window.stride == (1, 1)
    many = MANY if layer.phase == "train" else ENOUGH
    return fits and min(_group(t)) >= FEWEST and all(_well_tiled(image, many) for image in (t.x, t.y))


def _group(t):
    """Channels and filters of a group."""
    depth = t.weight.shape[2]
    return depth, t.weight.shape[3] * depth // t.x.shape[3]


def _well_tiled(image, many):
    batch, height, width = image.shape[:3]
    return height * width >= LEAST * _tiles(image) and batch * _tiles(image) >= many


def _tiles(image):
    return tiles(image.shape[1]) * tiles(image.shape[2])


def _block(image):
    """Images of one block, whose tiles make one set of products where images are small."""
    return min(max(1, TILES_AT_ONCE // _tiles(image)), chunk_images(image.shape[0]))


def _forward_block(t):
    return _block(t.y)


def _backward_block(t):
    return _block(t.x)


def _padded(image, channels):
    return (tiles(image.shape[1]) * TILE + 2) * (tiles(image.shape[2]) * TILE + 2) * channels + MAX_LANES


def _workspace(layer, t, direction):
    """Padded images, transformed tiles and filters; sized so that any CPU's vectors and tiles have room."""
    depth, share = _group(t)
    image, inner, outputs = (t.y, depth, share) if direction == "forward" else (t.x, share, depth)
    count = min(TILES_AT_ONCE, _block(image) * _tiles(image))
    member = {
        "padded": _padded(image, inner),
        "v": POINTS * (count * whole_vectors(inner) + GAP),
        "m": POINTS * (count * (outputs + MAX_NR) + GAP),
        "tile": TILE * TILE * MAX_LANES,
    }
    if direction == "backward":
        for name, size in _for_gradient(t, depth, share).items():
            member[name] = max(member.get(name, 0), size)
    groups, offsets = t.x.shape[3] // depth, max(TILES_AT_ONCE, whole_vectors(depth)) + 2 * MAX_MR
    return {
        **{name: Workspace((size,), per="member") for name, size in member.items()},
        "packed": Workspace((groups, POINTS * (inner * (outputs + MAX_NR) + GAP))),
        "start_row": Workspace((groups, outputs + MAX_NR)),
        "offsets": Workspace((2, offsets), "int64", "member"),
        **(split_batch.workspace(t) if direction == "backward" else {}),
    }


def _for_gradient(t, depth, share):
    """Elements that the weight gradient needs."""
    terms = min(TILES_OF_GRADIENT, chunk_images(t.x.shape[0]) * _tiles(t.y))
    return {
        "padded": _padded(t.y, depth),
        "padded_dy": _padded(t.y, share),
        "v": POINTS * (terms * whole_vectors(depth + MAX_MR) + GAP),
        "slopes": POINTS * (terms * (share + MAX_NR) + GAP),
        "m": POINTS * ((depth + MAX_MR) * (share + MAX_NR) + GAP),
    }


@forward("cpu", over="weight", axes=2, block=16, writes="packed")
def pack_winograd(start, stop, weight, packed, tile, groups):
    for g in range(groups):
        for c in range(start, stop):
            transform_filters(weight, packed[g], c, g, groups, False, tile)


@forward("cpu", over="y", axes=0, block=_forward_block, writes="y")
def forward_winograd(start, stop, x, y, packed, start_row, padded, v, m, offsets, tile, groups, window: Window):
    scratch, pad = (padded, v, m, offsets, tile), (window.pad_top, window.pad_left)
    for g in range(groups):
        convolve(x, y, (start, stop), g, groups, (packed[g], start_row[g]), scratch, pad)


@backward("cpu", over="weight", axes=3, block=16, writes="packed")
def pack_flipped_winograd(start, stop, weight, packed, tile, groups):
    share = weight.shape[3] // groups
    for f in range(start, stop):
        transform_filters(weight, packed[f // share], f % share, f // share, groups, True, tile)


@backward("cpu", over="d_x", axes=0, block=_backward_block, writes="d_x")
def d_x_winograd(start, stop, dy, d_x, packed, start_row, padded, v, m, offsets, tile, groups, window: Window):
    scratch, pad = (padded, v, m, offsets, tile), (2 - window.pad_top, 2 - window.pad_left)
    for g in range(groups):
        convolve(dy, d_x, (start, stop), g, groups, (packed[g], start_row[g]), scratch, pad)


@backward("cpu", over="partials", axes=0, writes="partials")
def d_weight_chunk_winograd(
    start, stop, x, dy, partials, padded, padded_dy, v, slopes, m, offsets, tile, chunk_images, groups, window: Window
):
    scratch, pad = (padded, padded_dy, v, slopes, m, offsets, tile), (window.pad_top, window.pad_left)
    for chunk in range(start, stop):
        images = (chunk * chunk_images, min((chunk + 1) * chunk_images, x.shape[0]))
        for g in range(groups):
            correlate(x, dy, images, g, groups, partials[chunk], scratch, pad)


VARIANT = Variant(
    "winograd",
    kernels=(
        *bias_row.FORWARD,
        pack_winograd,
        forward_winograd,
        *bias_row.BACKWARD,
        pack_flipped_winograd,
        d_x_winograd,
        d_weight_chunk_winograd,
        *split_batch.KERNELS,
    ),
    supports=_supports,
    workspace=_workspace,
    scalars=lambda layer, t: {"chunk_images": chunk_images(t.x.shape[0])},
    bound=BOUND,
)
