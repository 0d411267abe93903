"""Convolution on CPUs by implicit matrix products: what the passes of the variant ``direct`` do with its pieces."""

from netspec.layers._cpu.implicit_gemm import (
    MOST,
    ROWS,
    add_tile,
    columns_of,
    locate,
    pack_channels,
    pack_gradient,
    pack_weights,
    pad_image,
    products,
)
from netspec.plugin import Workspace, backward, device, forward

MOST_ROWS, DEEP = 8, 16
"""Rows of the tallest tile of any CPU; channels of a group from which on they are packed for the weight gradient."""
FEW = 4
"""Images from which on a block is one image; of fewer, images are cut into quarters."""


def _rows(t):
    """Rows of output pixels of one block of the forward pass."""
    return t.y.shape[1] if t.y.shape[0] >= FEW else -(-t.y.shape[1] // 4)


def workspace(t, window, groups, direction):
    """Packed operands and the numbers of tiles; sized so that any CPU's tiles have room."""
    (size_h, size_w), (down, right), (out_h, out_w) = window.size, window.stride, window.out
    depth, filters = t.weight.shape[2], t.weight.shape[3]
    height, width = (out_h - 1) * down + size_h, (out_w - 1) * right + size_w
    spaces = {
        "padded": (height * width * depth + MOST_ROWS,),
        "tile": (MOST_ROWS * MOST,),
        "zeros": (MOST,),
        "start_row": (groups, max(depth, filters // groups) + MOST),
    }
    share, pixels = filters // groups, out_h * out_w
    if direction == "forward":
        spaces["packed"] = (groups, size_h * size_w * depth * (share + MOST))
    else:
        behind = (t.x.shape[1] + size_h - 1) * (t.x.shape[2] + size_w - 1) * share
        pixels = max(pixels, t.x.shape[1] * t.x.shape[2])
        spaces["padded"] = (max(height * width * depth, behind) + MOST_ROWS,)
        spaces["packed"] = (groups, size_h * size_w * share * (depth + MOST))
        spaces["channels"] = (height * width * (depth + MOST_ROWS),)
        spaces["panels"] = (out_h * out_w * (share + MOST),)
    member = {"padded", "tile", "zeros", "channels", "panels"}
    result = {
        name: Workspace(shape, t.x.dtype, per="member" if name in member else "step") for name, shape in spaces.items()
    }
    result["places"] = Workspace((3, pixels + 2 * MOST_ROWS), "int64", per="member")
    return result


@device
def ramps(places, columns):
    """Places of a tile's rows where they lie one after the other, with and without columns between them."""
    for i in range(ROWS):
        places[i], places[ROWS + i] = i, i * columns


@forward("cpu", over="packed", axes=0, writes=("packed", "start_row"), variant="direct", when={"bias": True})
def pack_direct(start, stop, weight, bias, packed, start_row, groups):
    share = bias.size // groups
    start_row[start:stop] = 0
    for g in range(start, stop):
        pack_weights(weight, packed[g], g, groups, False)
        start_row[g, :share] = bias[g * share : (g + 1) * share]


@forward("cpu", over="packed", axes=0, writes=("packed", "start_row"), variant="direct", when={"bias": False})
def pack_direct_unbiased(start, stop, weight, packed, start_row, groups):
    start_row[start:stop] = 0
    for g in range(start, stop):
        pack_weights(weight, packed[g], g, groups, False)


@forward("cpu", over="y", axes=(0, 1), block=_rows, writes="y", variant="direct")
def forward_direct(
    start, stop, x, y, packed, start_row, padded, places, tile, groups,
    size_h, size_w, stride_h, stride_w, pad_top, pad_left,
):  # fmt: skip
    depth, share = x.shape[3] // groups, y.shape[3] // groups
    width = (y.shape[2] - 1) * stride_w + size_w
    line, flat, rows = width * depth, y.reshape(y.size), y.shape[1]
    ramps(places[2], columns_of(share))
    for n in range(start // rows, (stop - 1) // rows + 1):
        top, bottom = max(start - n * rows, 0), min(stop - n * rows, rows)
        pixels, above = (bottom - top) * y.shape[2], pad_top - top * stride_h
        height = (bottom - top - 1) * stride_h + size_h
        locate(places[0], places[1], top, bottom, y.shape[2], stride_h * line, stride_w * depth, y.shape[3])
        for g in range(groups):
            pad_image(x, n, g * depth, depth, padded, height, width, above, pad_left)
            first = n * rows * y.shape[2] * y.shape[3] + g * share
            products(
                padded, places[0], packed[g], flat, places[1], first, start_row[g], 0,
                share, pixels, size_h, size_w * depth, line, tile, places[2, ROWS:],
            )  # fmt: skip


@backward("cpu", over="packed", axes=0, writes=("packed", "start_row"), variant="direct")
def pack_flipped(start, stop, weight, packed, start_row, groups):
    start_row[start:stop] = 0
    for g in range(start, stop):
        pack_weights(weight, packed[g], g, groups, True)


@backward("cpu", over="d_x", axes=0, writes="d_x", variant="direct")
def d_x_direct(
    start, stop, dy, d_x, packed, start_row, padded, places, tile, groups, size_h, size_w, pad_top, pad_left
):
    depth, share = d_x.shape[3] // groups, dy.shape[3] // groups
    height, width = d_x.shape[1] + size_h - 1, d_x.shape[2] + size_w - 1
    pixels, line, flat = d_x.shape[1] * d_x.shape[2], width * share, d_x.reshape(d_x.size)
    locate(places[0], places[1], 0, d_x.shape[1], d_x.shape[2], line, share, d_x.shape[3])
    ramps(places[2], columns_of(depth))
    for n in range(start, stop):
        for g in range(groups):
            pad_image(dy, n, g * share, share, padded, height, width, size_h - 1 - pad_top, size_w - 1 - pad_left)
            first = n * pixels * d_x.shape[3] + g * depth
            products(
                padded, places[0], packed[g], flat, places[1], first, start_row[g], 0,
                depth, pixels, size_h, size_w * share, line, tile, places[2, ROWS:],
            )  # fmt: skip


@backward("cpu", over="partials", axes=0, writes="partials", variant="direct")
def d_weight_chunk_direct(
    start, stop, x, dy, partials, padded, channels, panels, places, tile, zeros, images, groups,
    size_h, size_w, stride_h, stride_w, pad_top, pad_left,
):  # fmt: skip
    depth, filters, out_h, out_w = x.shape[3] // groups, dy.shape[3], dy.shape[1], dy.shape[2]
    share, deep = filters // groups, depth >= DEEP
    height, width = (out_h - 1) * stride_h + size_h, (out_w - 1) * stride_w + size_w
    columns, area, spots = columns_of(share), height * width, places[1]
    ramps(places[0], columns)
    for i in range(ROWS):
        spots[i] = i * filters
    zeros[:] = 0
    lane = ROWS if deep else depth  # neighbouring pixels are so far apart
    run = depth if deep else size_w * depth  # rows that lie side by side in the weights
    for chunk in range(start, stop):
        total = partials[chunk]
        total[:] = 0
        for n in range(chunk * images, min((chunk + 1) * images, x.shape[0])):
            for g in range(groups):
                pad_image(x, n, g * depth, depth, padded, height, width, pad_top, pad_left)
                pack_gradient(dy, n, g * share, share, columns, panels)
                if deep:
                    pack_channels(padded, area, depth, channels)
                for f in range(0, share, columns):
                    for m in range(0, run, ROWS):
                        for tap in range(size_h * size_w if deep else size_h):
                            i, j = (tap // size_w, tap % size_w) if deep else (tap, 0)
                            first = m * area + (i * width + j) * ROWS if deep else i * width * depth + m
                            target = (tap * run + m) * filters + g * share + f
                            add_tile(
                                channels if deep else padded, places[0], first, panels, f * out_h * out_w,
                                total, spots, target, min(ROWS, run - m), min(columns, share - f), columns,
                                out_h, out_w, stride_h * width * lane, stride_w * lane, tile, zeros,
                            )  # fmt: skip
