"""Convolution on CPUs with instructions for bfloat16: the variant ``bf16`` of arrays that are stored so.

Implicit GEMM as in conv_direct: windows are read from a padded copy of the image, in pairs of neighbouring elements of
their rows. The weight gradient sums over pairs of images, each pixel with the same one of the next image. With a
stride, d_x falls into phases, of which each is a convolution without one by the weights that its pixels meet.
"""

from netspec.layers._batch_chunks import chunk_images
from netspec.layers._cpu import bias_row, split_batch
from netspec.layers._cpu.bf16_products import (
    LANES,
    MAX_MR,
    MAX_NR,
    SLACK,
    add_tile,
    clear,
    even,
    last_tap,
    lay_image,
    locate_rows,
    multiply_image,
    pack_elements,
    pack_flipped,
    pack_gradients,
    pack_images,
    pack_weights,
    panel_width,
    repeat_last,
    tile_rows,
)
from netspec.layers._cpu.conv_direct import padded_shape
from netspec.layers._window import Window
from netspec.plugin import Variant, Workspace, backward, device, forward

DEEP = 16
"""Channels of a group from which on they are packed for the weight gradient."""
FEW = 4
"""Images from which on a block is one image; of fewer, images are cut into quarters."""
KEPT = 1 << 19
"""Bytes of packed images whose products are summed before they are added to the weight gradient."""


def _rows(t):
    """Rows of output pixels of one block of the forward pass."""
    return t.y.shape[1] if t.y.shape[0] >= FEW else -(-t.y.shape[1] // 4)


def _group(t):
    """Groups, and the channels and filters of one."""
    depth = t.weight.shape[2]
    groups = t.x.shape[3] // depth
    return groups, depth, t.weight.shape[3] // groups


def _workspace(layer, t, direction):
    """Packed operands and offsets of register tiles."""
    (groups, depth, share), window, size_w = _group(t), layer.window(t), t.weight.shape[1]
    if direction == "backward":
        return _backward_workspace(t, window)
    runs = t.weight.shape[0] * (size_w * depth + 1)
    height, width = padded_shape(window)
    return {
        "packed": Workspace((groups, runs * (share + MAX_NR)), t.x.dtype),
        "start_row": Workspace((groups, share + MAX_NR)),
        "padded": Workspace((height * width * depth + 2,), t.x.dtype, "member"),
        "tile": Workspace((MAX_MR * MAX_NR,), t.x.dtype, "member"),
        "offsets": Workspace((3, window.out_h * window.out_w + MAX_MR), "int64", "member"),
    }


def _backward_workspace(t, window):
    (groups, depth, share), taps = _group(t), t.weight.shape[0] * t.weight.shape[1]
    (height, width), (_, tall, wide) = padded_shape(window), _gradient_shape(t.x.shape, window)
    images, slope = -(-_at_once(t, window) // 2), 2 * window.out_h * window.out_w * (share + MAX_NR)
    padded = max(2 * height * width * depth, tall * wide * (share + 1))
    return {
        "packed": Workspace((groups, taps * (share + 1) * (depth + MAX_NR) + SLACK), t.x.dtype),
        "start_row": Workspace((groups, depth + MAX_NR)),
        "padded": Workspace((padded,), t.x.dtype, "member"),
        "tile": Workspace((MAX_MR * MAX_NR,), t.x.dtype, "member"),
        "offsets": Workspace((3, t.x.shape[1] * t.x.shape[2] + MAX_MR), "int64", "member"),
        "pairs": Workspace((images * _packed_images(t, window),), t.x.dtype, "member"),
        "slopes": Workspace((images * slope,), t.x.dtype, "member"),
        "sums": Workspace(((MAX_MR + 1) * MAX_NR,), per="member"),
        **split_batch.workspace(t),
    }


def _packed_images(t, window):
    """Elements of two images whose pixels are packed in pairs."""
    (height, width), depth = padded_shape(window), t.weight.shape[2]
    return 2 * (height * width * (depth + MAX_MR if depth >= DEEP else depth) + LANES)


def _at_once(t, window):
    """Images whose products are summed at once: pairs of them."""
    return min(chunk_images(t.x.shape[0]), 2 * max(1, KEPT // (2 * _packed_images(t, window))))


@device
def _gradient_shape(x_shape, window):
    """First row of windows, height and width of the image of gradients whose windows d_x is a convolution of."""
    first_h, first_w = window.pad_top // window.stride_h, window.pad_left // window.stride_w
    height = (x_shape[1] - 1 + window.pad_top) // window.stride_h - first_h
    width = (x_shape[2] - 1 + window.pad_left) // window.stride_w - first_w
    taps_h = (window.size_h - 1) // window.stride_h + 1
    taps_w = (window.size_w - 1) // window.stride_w + 1
    return (first_h - taps_h + 1, first_w - taps_w + 1), height + taps_h, width + taps_w


# Forward ------------------------------------------------------------------------------------------------------------


@forward("cpu", over="packed", axes=0, writes="packed")
def pack_bf16(start, stop, weight, packed, groups):
    for g in range(start, stop):
        pack_weights(weight, packed[g], g, groups)


@device
def locate(offsets, rows, out_w, steps, filters):
    """Where the patches of each pixel of those output rows lie, the first row's first, and where their results.

    ``steps`` are elements from one patch to the one below and to the one beside it.
    """
    (first, stop), (down, right), at = rows, steps, 0
    for oh in range(first, stop):
        for ow in range(out_w):
            offsets[0, at], offsets[1, at] = (oh - first) * down + ow * right, (oh * out_w + ow) * filters
            at += 1
    repeat_last(offsets[0], at)
    repeat_last(offsets[1], at)


@forward("cpu", over="y", axes=(0, 1), block=_rows, writes="y")
def forward_bf16(start, stop, x, y, packed, start_row, padded, offsets, tile, groups, window: Window):
    depth, share, rows = x.shape[3] // groups, y.shape[3] // groups, y.shape[1]
    width, flat = padded_shape(window)[1], y.reshape(y.size)
    line = width * depth
    locate_rows(offsets[2], panel_width(share))
    for n in range(start // rows, (stop - 1) // rows + 1):
        top, bottom = max(start - n * rows, 0), min(stop - n * rows, rows)
        height = (bottom - top - 1) * window.stride_h + window.size_h
        steps = (window.stride_h * line, window.stride_w * depth)
        locate(offsets, (top, bottom), y.shape[2], steps, y.shape[3])
        sizes = (0, share, (bottom - top) * y.shape[2], window.size_h, window.size_w * depth, line)
        pad = (window.pad_top - top * window.stride_h, window.pad_left)
        clear(padded, (height * line, 2))  # the last row's last pair may end behind the image
        for g in range(groups):
            lay_image(x, n, g * depth, depth, padded, 0, (height, width, depth), pad)
            first = n * rows * y.shape[2] * y.shape[3] + g * share
            multiply_image(padded, packed[g], start_row[g], flat, first, offsets, tile, sizes)


# The gradient of x --------------------------------------------------------------------------------------------------


@backward("cpu", over="packed", axes=0, writes="packed")
def pack_flipped_bf16(start, stop, weight, packed, groups, window: Window):
    for g in range(start, stop):
        pack_flipped(weight, packed[g], g, groups, window)


@device
def taps_of(phase, size, stride):
    """Weights of a phase."""
    return last_tap(phase, size, stride) // stride + 1 if phase < size else 0


@device
def locate_phase(offsets, phase, shape, pitch, channels, window):
    """Where the patches and results of the pixels of one phase lie; gives how many there are."""
    (a, b), at = phase, 0
    rows, columns = taps_of(a, window.size_h, window.stride_h), taps_of(b, window.size_w, window.stride_w)
    (first_h, first_w), _, width = _gradient_shape(shape, window)
    for h in range((a - window.pad_top) % window.stride_h, shape[1], window.stride_h):
        row = (h + window.pad_top) // window.stride_h - rows + 1 - first_h
        for w in range((b - window.pad_left) % window.stride_w, shape[2], window.stride_w):
            column = (w + window.pad_left) // window.stride_w - columns + 1 - first_w
            offsets[0, at], offsets[1, at] = (row * width + column) * pitch, (h * shape[2] + w) * channels
            at += 1
    if at:
        repeat_last(offsets[0], at)
        repeat_last(offsets[1], at)
    return at


@backward("cpu", over="d_x", axes=0, writes="d_x")
def d_x_bf16(start, stop, dy, d_x, packed, start_row, padded, offsets, tile, groups, window: Window):
    depth, share, flat = d_x.shape[3] // groups, dy.shape[3] // groups, d_x.reshape(d_x.size)
    columns, pitch = panel_width(depth), even(share)
    panels = (depth + columns - 1) // columns * columns * pitch
    (first_h, first_w), height, width = _gradient_shape(d_x.shape, window)
    locate_rows(offsets[2], columns)
    for n in range(start, stop):
        for g in range(groups):
            lay_image(dy, n, g * share, share, padded, 0, (height, width, pitch), (-first_h, -first_w))
            first, begin = n * (d_x.size // d_x.shape[0]) + g * depth, 0
            for a in range(window.stride_h):
                for b in range(window.stride_w):
                    pixels = locate_phase(offsets, (a, b), d_x.shape, pitch, d_x.shape[3], window)
                    runs, taps = taps_of(a, window.size_h, window.stride_h), taps_of(b, window.size_w, window.stride_w)
                    sizes = (begin, depth, pixels, runs, taps * pitch, width * pitch)
                    multiply_image(padded, packed[g], start_row[g], flat, first, offsets, tile, sizes)
                    begin += runs * taps * panels


# The gradient of the weights ----------------------------------------------------------------------------------------


@device
def add_images(pairs, slopes, total, first, offsets, sums, sizes, terms, window):
    """Add images' products to the weight gradient of a group, whose filters begin at ``first``.

    ``sizes``: filters of the group and of all; channels that are rows of one product; pairs from one register tile to
    the next, from one pixel to the next, from one row of pixels to the next; windows' columns counted one by one;
    elements of the gradients' panels. ``terms`` are those of the micro-kernel.
    """
    share, filters, run, apart, lane, line, taps_w, panel = sizes
    columns = panel_width(share)
    rows = tile_rows(columns)
    for f in range(0, share, columns):
        for m in range(0, run, rows):
            for tap in range(window.size_h * taps_w):
                i, j = tap // taps_w, tap % taps_w
                shape = (min(rows, run - m), min(columns, share - f), columns)
                source, target = m * apart + i * line + j * lane, (tap * run + m) * filters + first + f
                add_tile(pairs, slopes, total, offsets, sums, (source, f // columns * panel, target), shape, terms)


@backward("cpu", over="partials", axes=0, writes="partials")
def d_weight_chunk_bf16(
    start, stop, x, dy, partials, padded, pairs, slopes, sums, offsets, chunk_images, at_once, groups, window: Window
):
    depth, filters, share = x.shape[3] // groups, dy.shape[3], dy.shape[3] // groups
    shape, columns, deep = padded_shape(window), panel_width(share), depth >= DEEP
    pixels, rows, run = shape[0] * shape[1], tile_rows(columns), window.size_w * depth
    image = pixels * ((depth + rows - 1) // rows * rows if deep else depth)
    slope = 2 * window.out_h * window.out_w * columns
    panel = even(at_once) // 2 * slope
    sizes = (share, filters, run, 1, depth, shape[1] * depth, 1, panel)
    if deep:
        sizes = (share, filters, depth, pixels, rows, shape[1] * rows, window.size_w, panel)
    lane, line = sizes[4], sizes[5]
    locate_rows(offsets[0], columns)
    locate_rows(offsets[1], filters)
    sums[MAX_MR * MAX_NR :] = 0
    for chunk in range(start, stop):
        for g in range(groups):
            begin, end = chunk * chunk_images, min((chunk + 1) * chunk_images, x.shape[0])
            for first in range(begin, end, at_once):
                last = min(first + at_once, end)
                for n in range(first, last, 2):
                    both, at, pad = n + 1 < last, (n - first) // 2, (window.pad_top, window.pad_left)
                    for k in range(1 + both):
                        size = (shape[0], shape[1], depth)
                        lay_image(x, n + k, g * depth, depth, padded, k * pixels * depth, size, pad)
                    pack_gradients(dy, n, both, g * share, share, columns, slopes, at * slope, panel)
                    if deep:
                        pack_images(padded, pixels, depth, both, rows, pairs, 2 * at * image)
                    else:
                        pack_elements(padded, pixels * depth, both, pairs, 2 * at * image)
                jump, step, blocks = window.stride_h * line, window.stride_w * lane, even(last - first) // 2
                terms = (blocks, image, window.out_h, jump, window.out_w, step, 1 if first > begin else 0)
                add_images(pairs, slopes, partials[chunk], g * share, offsets, sums, sizes, terms, window)


def _scalars(layer, t):
    return {"chunk_images": chunk_images(t.x.shape[0]), "at_once": _at_once(t, layer.window(t))}


VARIANT = Variant(
    "bf16",
    kernels=(
        *bias_row.FORWARD,
        pack_bf16,
        forward_bf16,
        *bias_row.BACKWARD,
        pack_flipped_bf16,
        d_x_bf16,
        d_weight_chunk_bf16,
        *split_batch.KERNELS,
    ),
    supports=lambda layer, t: t.x.dtype == "bfloat16" and layer.window(t).dilation == (1, 1),
    workspace=_workspace,
    scalars=_scalars,
    capability="avx512_bf16",
)
