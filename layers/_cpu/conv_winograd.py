"""Convolution on CPUs by Winograd's F(4x4, 3x3): the passes of the variant ``winograd`` (Lavin and Gray 2016).

A 3 x 3 convolution without a stride takes 2.25 products a result in place of 9, less what tiles over ragged edges
waste. d_x is the same with flipped filters, the weight gradient is the algorithm transposed.
"""

from netspec.layers._cpu.im2col import chunk_images
from netspec.layers._cpu.implicit_gemm import MOST
from netspec.layers._cpu.winograd import (
    AT_ONCE,
    GAP,
    MOST_LANES,
    MOST_ROWS,
    POINTS,
    TERMS,
    TILE,
    convolve,
    correlate,
    tiles,
    transform_filters,
    whole_vectors,
)
from netspec.plugin import Workspace, backward, forward

BOUND = 2e-5
"""Error of each kernel. Seen: 2e-6 on random numbers, 1.3e-5 where all are equal and rounding errors add up."""
FEWEST, LEAST, MANY, ENOUGH = 16, 6, 24, 16
"""Channels and filters of a group, results of a tile (of 16) and tiles of a batch from which on the transforms pay;
fewer tiles are enough where filters are transformed once for many batches."""


def pays(t, window, groups, training):
    """Whether it can run these shapes, and is likely to be faster there than the variant ``direct``."""
    fits = window.size == (3, 3) and window.stride == (1, 1)
    narrowest = min(t.weight.shape[2], t.weight.shape[3] // groups)
    many = MANY if training else ENOUGH
    return fits and narrowest >= FEWEST and all(_well_tiled(image, many) for image in (t.x, t.y))


def _well_tiled(image, many):
    batch, height, width = image.shape[:3]
    return height * width >= LEAST * _tiles(image) and batch * _tiles(image) >= many


def _tiles(image):
    return tiles(image.shape[1]) * tiles(image.shape[2])


def _block(image):
    """Images of one block, whose tiles make one set of products where images are small."""
    return min(max(1, AT_ONCE // _tiles(image)), chunk_images(image.shape[0]))


def _forward_block(t):
    return _block(t.y)


def _backward_block(t):
    return _block(t.x)


def _padded(image, channels):
    return (tiles(image.shape[1]) * TILE + 2) * (tiles(image.shape[2]) * TILE + 2) * channels + MOST_LANES


def workspace(t, groups, direction):
    """Padded images, transformed tiles and filters; sized so that any CPU's vectors and tiles have room."""
    depth, share = t.weight.shape[2], t.weight.shape[3] // groups
    image, inner, outputs = (t.y, depth, share) if direction == "forward" else (t.x, share, depth)
    count = min(AT_ONCE, _block(image) * _tiles(image))
    member = {
        "padded": _padded(image, inner),
        "spectra": POINTS * (count * whole_vectors(inner) + GAP),
        "sums": POINTS * (count * (outputs + MOST) + GAP),
        "tile": TILE * TILE * MOST_LANES,
    }
    if direction == "backward":
        for name, size in _for_gradient(t, depth, share).items():
            member[name] = max(member.get(name, 0), size)
    spaces = {name: Workspace((size,), t.x.dtype, per="member") for name, size in member.items()}
    places = max(AT_ONCE, whole_vectors(depth)) + 2 * MOST_ROWS
    return {
        **spaces,
        "packed": Workspace((groups, POINTS * (inner * (outputs + MOST) + GAP)), t.x.dtype),
        "start_row": Workspace((groups, outputs + MOST), t.x.dtype),
        "places": Workspace((2, places), "int64", per="member"),
    }


def _for_gradient(t, depth, share):
    """Elements that the weight gradient needs."""
    terms = min(TERMS, chunk_images(t.x.shape[0]) * _tiles(t.y))
    return {
        "padded": _padded(t.y, depth),
        "behind": _padded(t.y, share),
        "spectra": POINTS * (terms * whole_vectors(depth + MOST_ROWS) + GAP),
        "slopes": POINTS * (terms * (share + MOST) + GAP),
        "sums": POINTS * ((depth + MOST_ROWS) * (share + MOST) + GAP),
    }


@forward("cpu", over="start_row", axes=0, writes="start_row", variant="winograd", when={"bias": True})
def start_winograd(start, stop, bias, start_row, groups):
    share = bias.size // groups
    start_row[start:stop] = 0
    for g in range(start, stop):
        start_row[g, :share] = bias[g * share : (g + 1) * share]


@forward("cpu", over="start_row", axes=0, writes="start_row", variant="winograd", when={"bias": False})
def start_unbiased(start, stop, start_row):
    start_row[start:stop] = 0


@forward("cpu", over="weight", axes=2, block=16, writes="packed", variant="winograd")
def pack_winograd(start, stop, weight, packed, tile, groups):
    for g in range(groups):
        for c in range(start, stop):
            transform_filters(weight, packed[g], c, g, groups, False, tile)


@forward("cpu", over="y", axes=0, block=_forward_block, writes="y", variant="winograd")
def forward_winograd(
    start, stop, x, y, packed, start_row, padded, spectra, sums, places, tile, groups, pad_top, pad_left
):
    for g in range(groups):
        convolve(
            x, y, start, stop, g, groups, packed[g], start_row[g], padded, spectra, sums, places, tile,
            pad_top, pad_left,
        )  # fmt: skip


@backward("cpu", over="start_row", axes=0, writes="start_row", variant="winograd")
def start_flipped(start, stop, start_row):
    start_row[start:stop] = 0


@backward("cpu", over="weight", axes=3, block=16, writes="packed", variant="winograd")
def pack_flipped_winograd(start, stop, weight, packed, tile, groups):
    share = weight.shape[3] // groups
    for f in range(start, stop):
        transform_filters(weight, packed[f // share], f % share, f // share, groups, True, tile)


@backward("cpu", over="d_x", axes=0, block=_backward_block, writes="d_x", variant="winograd")
def d_x_winograd(
    start, stop, dy, d_x, packed, start_row, padded, spectra, sums, places, tile, groups, pad_top, pad_left
):
    for g in range(groups):
        convolve(
            dy, d_x, start, stop, g, groups, packed[g], start_row[g], padded, spectra, sums, places, tile,
            2 - pad_top, 2 - pad_left,
        )  # fmt: skip


@backward("cpu", over="partials", axes=0, writes="partials", variant="winograd")
def d_weight_chunk_winograd(
    start, stop, x, dy, partials, padded, behind, spectra, slopes, sums, places, tile, images, groups,
    pad_top, pad_left,
):  # fmt: skip
    for chunk in range(start, stop):
        for g in range(groups):
            correlate(
                x, dy, chunk * images, min((chunk + 1) * images, x.shape[0]), g, groups, partials[chunk],
                padded, behind, spectra, slopes, sums, places, tile, pad_top, pad_left,
            )  # fmt: skip
