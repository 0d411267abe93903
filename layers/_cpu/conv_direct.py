"""Convolution on CPUs by implicit GEMM: the variants ``direct`` and, with a stride, ``direct_strided``."""

from netspec.layers._batch_chunks import chunk_images
from netspec.layers._cpu import bias_row, conv_gemm, split_batch
from netspec.layers._cpu.implicit_gemm import (
    MAX_MR,
    MAX_NR,
    MR,
    add_tile,
    locate,
    locate_tile,
    multiply_image,
    pack_channels,
    pack_gradient,
    pack_weights,
    pad_image,
    panel_width,
)
from netspec.layers._window import Window
from netspec.plugin import Variant, Workspace, backward, device, forward

DEEP = 16
"""Channels of a group from which on they are packed for the weight gradient."""
FEW_TERMS = 128
"""Weights of a filter up to which dy is read as it lies; more of them make up for packing it."""
FEW = 4
"""Images from which on a block is one image; of fewer, images are cut into quarters."""


def _rows(t):
    """Rows of output pixels of one block of the forward pass."""
    return t.y.shape[1] if t.y.shape[0] >= FEW else -(-t.y.shape[1] // 4)


def _workspace(layer, t, direction):
    """Packed operands and offsets of register tiles; sized so that any CPU's tiles have room."""
    (size_h, size_w, depth, filters), groups = t.weight.shape, t.x.shape[3] // t.weight.shape[2]
    window, share = layer.window(t), filters // groups
    height, width = padded_shape(window)
    pixels, taps = window.out_h * window.out_w, size_h * size_w
    member = {"padded": height * width * depth + MAX_MR, "tile": (MAX_MR + 1) * MAX_NR}
    packed = taps * depth * (share + MAX_NR)
    if direction == "backward":
        flipped = (t.x.shape[1] + size_h - 1) * (t.x.shape[2] + size_w - 1) * share
        member["padded"] = max(height * width * depth, flipped) + MAX_MR
        member["channels"] = height * width * (depth + MAX_MR)
        member["panels"] = pixels * (share + MAX_NR)
        packed, rows = taps * share * (depth + MAX_NR), taps * depth if depth < DEEP else 0
        pixels = max(pixels, t.x.shape[1] * t.x.shape[2], rows)
    spaces = {
        "packed": Workspace((groups, packed)),
        "start_row": Workspace((groups, max(depth, share) + MAX_NR)),
        "offsets": Workspace((3, pixels + 2 * MAX_MR), "int64", "member"),
        **{name: Workspace((size,), per="member") for name, size in member.items()},
    }
    return spaces if direction == "forward" else {**spaces, **split_batch.workspace(t)}


@device
def padded_shape(window):
    """Height and width of an image with the padding that its windows read."""
    height = (window.out_h - 1) * window.stride_h + window.size_h
    return height, (window.out_w - 1) * window.stride_w + window.size_w


@forward("cpu", over="packed", axes=0, writes="packed")
def pack_direct(start, stop, weight, packed, groups):
    for g in range(start, stop):
        pack_weights(weight, packed[g], g, groups, False)


@forward("cpu", over="y", axes=(0, 1), block=_rows, writes="y")
def forward_direct(start, stop, x, y, packed, start_row, padded, offsets, tile, groups, window: Window):
    depth, share, rows = x.shape[3] // groups, y.shape[3] // groups, y.shape[1]
    width = padded_shape(window)[1]
    line, flat = width * depth, y.reshape(y.size)
    locate_tile(offsets[2], panel_width(share))
    for n in range(start // rows, (stop - 1) // rows + 1):
        top, bottom = max(start - n * rows, 0), min(stop - n * rows, rows)
        shape = ((bottom - top - 1) * window.stride_h + window.size_h, width)
        steps = (window.stride_h * line, window.stride_w * depth)
        locate(offsets[0], offsets[1], (top, bottom), y.shape[2], steps, y.shape[3])
        sizes = (share, (bottom - top) * y.shape[2], window.size_h, window.size_w * depth, line)
        for g in range(groups):
            pad_image(x, n, g * depth, depth, padded, shape, (window.pad_top - top * window.stride_h, window.pad_left))
            first = n * rows * y.shape[2] * y.shape[3] + g * share
            multiply_image(padded, packed[g], start_row[g], flat, first, offsets, tile, sizes)


@backward("cpu", over="packed", axes=0, writes="packed")
def pack_flipped(start, stop, weight, packed, groups):
    for g in range(start, stop):
        pack_weights(weight, packed[g], g, groups, True)


@backward("cpu", over="d_x", axes=0, writes="d_x")
def d_x_direct(start, stop, dy, d_x, packed, start_row, padded, offsets, tile, groups, window: Window):
    depth, share, size_h, size_w = d_x.shape[3] // groups, dy.shape[3] // groups, window.size_h, window.size_w
    shape = (d_x.shape[1] + size_h - 1, d_x.shape[2] + size_w - 1)
    pixels, line, flat = d_x.shape[1] * d_x.shape[2], shape[1] * share, d_x.reshape(d_x.size)
    locate(offsets[0], offsets[1], (0, d_x.shape[1]), d_x.shape[2], (line, share), d_x.shape[3])
    locate_tile(offsets[2], panel_width(depth))
    for n in range(start, stop):
        for g in range(groups):
            pad = (size_h - 1 - window.pad_top, size_w - 1 - window.pad_left)
            pad_image(dy, n, g * share, share, padded, shape, pad)
            first, sizes = n * pixels * d_x.shape[3] + g * depth, (depth, pixels, size_h, size_w * share, line)
            multiply_image(padded, packed[g], start_row[g], flat, first, offsets, tile, sizes)


@device
def add_channels(channels, panel, total, first, offsets, tile, sizes, window):
    """Add one image's products with one panel of dy to the weight gradient, tap by tap.

    ``first``: the panel's first element in ``panel``, the gradient's in ``total``. ``sizes``: filters of the panel, NR,
    elements from row to row of the panel, all filters; channels; elements of a row of the padded image and of one of
    its panels.
    """
    (begin, target), (width, columns, pitch, filters, depth, line, apart) = first, sizes
    terms = (window.out_h, window.out_w, window.stride_h * line, window.stride_w * MR)
    for m in range(0, depth, MR):
        for tap in range(window.size_h * window.size_w):
            source = m // MR * apart + tap // window.size_w * line + tap % window.size_w * MR
            at, height = (source, begin, target + (tap * depth + m) * filters), min(MR, depth - m)
            add_tile(channels, panel, total, offsets, -1, tile, at, (height, width, columns, pitch), terms)


@device
def add_taps(padded, panel, total, first, offsets, tile, sizes, window):
    """The same where channels are few: the rows of a register tile are those of any taps, or it were half empty.

    ``offsets[2]`` are the places of all taps' channels in ``padded``, see ``locate_taps``.
    """
    (begin, target), (width, columns, pitch, filters, depth, line, _) = first, sizes
    rows = window.size_h * window.size_w * depth
    terms = (window.out_h, window.out_w, window.stride_h * line, window.stride_w * depth)
    for m in range(0, rows, MR):
        at, shape = (0, begin, target + m * filters), (min(MR, rows - m), width, columns, pitch)
        add_tile(padded, panel, total, offsets, m, tile, at, shape, terms)


@device
def locate_taps(places, rows, run, line):
    """Where the channels of all taps lie in a padded image: ``run`` of them side by side, the next a ``line`` further.

    The last is repeated to fill its register tile.
    """
    for r in range(rows + MR):
        row = min(r, rows - 1)
        places[r] = row // run * line + row % run


@device
def add_image(padded, channels, panels, total, first, offsets, tile, sizes, window):
    """Add one image's products to the weight gradient of a group.

    ``first``: the gradient's first element in ``panels``, the group's first filter. ``sizes``: elements from pixel to
    pixel of a panel, and from panel to panel by filters; the group's filters and all; channels; height and width of
    the padded image.
    """
    (begin, group), (pitch, apart, share, filters, depth, height, width) = first, sizes
    columns = panel_width(share)
    for f in range(0, share, columns):
        outputs, at = min(columns, share - f), (begin + f * apart, group + f)
        if depth >= DEEP:
            layout = (outputs, columns, pitch, filters, depth, width * MR, height * width * MR)
            add_channels(channels, panels, total, at, offsets, tile, layout, window)
        else:
            layout = (outputs, columns, pitch, filters, depth, width * depth, 0)
            add_taps(padded, panels, total, at, offsets, tile, layout, window)


@backward("cpu", over="partials", axes=0, writes="partials")
def d_weight_chunk_direct(
    start, stop, x, dy, partials, padded, channels, panels, offsets, tile, chunk_images, groups, window: Window
):
    depth, filters, share = x.shape[3] // groups, dy.shape[3], dy.shape[3] // groups
    shape, columns, run = padded_shape(window), panel_width(share), window.size_w * depth
    gradients, pixels, terms = dy.reshape(dy.size), window.out_h * window.out_w, window.size_h * run
    in_place = columns == filters or (share % columns == 0 and terms <= FEW_TERMS)
    pitch, apart = (filters, 1) if in_place else (columns, pixels)
    sizes = (pitch, apart, share, filters, depth, shape[0], shape[1])
    locate_tile(offsets[0], columns)
    locate_tile(offsets[1], filters)
    if depth < DEEP:
        locate_taps(offsets[2], terms, run, shape[1] * depth)
    tile[MAX_MR * MAX_NR :] = 0
    for chunk in range(start, stop):
        total = partials[chunk]
        total[:] = 0
        for n in range(chunk * chunk_images, min((chunk + 1) * chunk_images, x.shape[0])):
            for g in range(groups):
                pad_image(x, n, g * depth, depth, padded, shape, (window.pad_top, window.pad_left))
                if depth >= DEEP:
                    pack_channels(padded, shape[0] * shape[1], depth, channels)
                source, first = panels, (0, g * share)
                if in_place:
                    source, first = gradients, (n * pixels * filters + g * share, g * share)
                else:
                    pack_gradient(dy, n, g * share, share, columns, panels)
                add_image(padded, channels, source, total, first, offsets, tile, sizes, window)


def _scalars(layer, t):
    return {"chunk_images": chunk_images(t.x.shape[0])}


_FORWARD = (*bias_row.FORWARD, pack_direct, forward_direct)
_D_X = (*bias_row.BACKWARD, pack_flipped, d_x_direct)
VARIANT = Variant(
    "direct",
    kernels=(*_FORWARD, *_D_X, d_weight_chunk_direct, *split_batch.KERNELS),
    supports=lambda layer, t: t.x.dtype == "float32" and layer.window(t).stride == (1, 1),
    workspace=_workspace,
    scalars=_scalars,
)
STRIDED = Variant(
    "direct_strided",
    kernels=(*_FORWARD, conv_gemm.d_x_gemm, d_weight_chunk_direct, *split_batch.KERNELS),
    supports=lambda layer, t: t.x.dtype == "float32" and layer.window(t).stride != (1, 1),
    workspace=lambda layer, t, direction: {**conv_gemm.d_x_workspace(t), **_workspace(layer, t, direction)},
    scalars=conv_gemm.VARIANT.scalars,
)
"""With a stride d_x is no convolution: it is left to im2col's patches."""
