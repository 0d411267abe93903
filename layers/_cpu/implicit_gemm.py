"""Implicit GEMM on CPUs: the micro-kernel reads windows from the padded image, im2col's matrix is never laid out.

An image is copied once with its padding, so that all windows lie inside. The rows of a register tile are output pixels,
whose patches are runs of KW * channels floats in the padded image, one for each row of the window. The other operand is
packed into panels of NR columns, term after term, zero beyond the last column.
"""

from netspec.plugin import Lazy, device

_MICRO = "netspec.layers._cpu.gemm_microkernel"
MR, NARROW, WIDE = (Lazy(_MICRO, name) for name in ("MR", "NARROW", "WIDE"))
multiply, multiply_strided, multiply_neighbours = (
    Lazy(_MICRO, name) for name in ("multiply", "multiply_strided", "multiply_neighbours")
)

MAX_MR, MAX_NR = 8, 48
"""The largest register tile of any CPU: what packed arrays leave room for."""


@device
def panel_width(outputs):
    """NR of the register tile for so many columns."""
    return WIDE if outputs % WIDE == 0 else NARROW


# Packing ------------------------------------------------------------------------------------------------------------


@device
def pack_weights(weight, packed, group, groups, flip):
    """The weights of one group as panels of columns, term after term; flipped and transposed for d_x."""
    size_h, size_w, depth, share = weight.shape[0], weight.shape[1], weight.shape[2], weight.shape[3] // groups
    inner, outputs = (share, depth) if flip else (depth, share)
    columns = panel_width(outputs)
    at = 0
    for first in range(0, outputs, columns):
        for i in range(size_h):
            for j in range(size_w):
                for c in range(inner):
                    for f in range(first, first + columns):
                        value = 0.0
                        if f < outputs and flip:
                            value = weight[size_h - 1 - i, size_w - 1 - j, f, group * share + c]
                        elif f < outputs:
                            value = weight[i, j, c, group * share + f]
                        packed[at] = value
                        at += 1


@device
def copy(source, target, count):
    """The first ``count`` elements."""
    for i in range(count):
        target[i] = source[i]


@device
def pad_image(x, n, first, depth, padded, shape, pad):
    """Copy channels [first, first + depth) of image n, behind ``pad`` rows and columns of zeros, into ``padded``.

    ``shape`` is the padded image's (height, width).
    """
    (height, width), (top, left), channels = shape, pad, x.shape[3]
    begin, end = min(max(left, 0), width), max(min(x.shape[2] + left, width), 0)
    lines = x.reshape(x.shape[0] * x.shape[1], x.shape[2] * channels)
    for h in range(height):
        row, target = h - top, padded[h * width * depth : (h + 1) * width * depth]
        if row < 0 or row >= x.shape[1]:
            target[:] = 0
            continue
        line = lines[n * x.shape[1] + row, max(begin - left, 0) * channels + first :]
        target[: begin * depth] = 0
        target[max(begin, end) * depth :] = 0
        if depth == channels:  # a row lies in one piece, which few channels are not
            copy(line, target[begin * depth :], (end - begin) * depth)
            continue
        for w in range(end - begin):
            copy(line[w * channels :], target[(begin + w) * depth :], depth)


@device
def pack_gradient(dy, n, first, share, columns, panels):
    """Channels [first, first + share) of image n as panels of columns, pixel after pixel."""
    at = 0
    for f0 in range(0, share, columns):
        width = min(columns, share - f0)
        for oh in range(dy.shape[1]):
            for ow in range(dy.shape[2]):
                for f in range(width):
                    panels[at + f] = dy[n, oh, ow, first + f0 + f]
                for f in range(width, columns):
                    panels[at + f] = 0.0
                at += columns


@device
def pack_channels(padded, pixels, depth, panels):
    """A padded image as panels of MR channels, pixel after pixel, zero beyond the last channel."""
    at = 0
    for c0 in range(0, depth, MR):
        width = min(MR, depth - c0)
        for p in range(pixels):
            for c in range(width):
                panels[at + c] = padded[p * depth + c0 + c]
            for c in range(width, MR):
                panels[at + c] = 0.0
            at += MR


# Products -----------------------------------------------------------------------------------------------------------


@device
def locate(patches, results, rows, out_w, steps, filters):
    """Where the patch and the result of each pixel of those output rows lie, the first row's patches first.

    ``steps`` are elements from one patch to the one below and to the one beside it. The last pixel is repeated to fill
    its register tile.
    """
    (first, stop), (down, right), at = rows, steps, 0
    for oh in range(first, stop):
        for ow in range(out_w):
            patches[at], results[at] = (oh - first) * down + ow * right, (oh * out_w + ow) * filters
            at += 1
    for extra in range(at, at + MR):
        patches[extra], results[extra] = patches[at - 1], results[at - 1]


@device
def locate_tile(rows, columns):
    """Where the rows of a register tile lie that are stored one after the other."""
    for i in range(MR):
        rows[i] = i * columns


@device
def multiply_image(padded, packed, start_row, y, first, offsets, tile, sizes):
    """y[first + ...] = start_row + patches of one image times packed weights, register tile by register tile.

    ``offsets`` are those of ``locate`` and ``locate_tile``; ``tile`` holds results of which some are left out.
    ``sizes``: columns, pixels, rows of a window, elements of such a row, elements from row to row.
    """
    outputs, pixels, runs, run, jump = sizes
    patches, results = offsets[0], offsets[1]
    columns = panel_width(outputs)
    for f in range(0, outputs, columns):
        panel, width = f * runs * run, min(columns, outputs - f)
        for p in range(0, pixels, MR):
            c, rows, origin = y, results[p:], first + f
            if width < columns:
                c, rows, origin = tile, offsets[2], 0
            at, terms = (0, panel, origin, f), (runs, run, jump, 1, 0)
            multiply(columns, padded, patches[p:], packed, c, rows, start_row, at, terms)
            if width < columns:
                for i in range(min(MR, pixels - p)):
                    for j in range(width):
                        y[first + f + results[p + i] + j] = tile[i * columns + j]


@device
def add_tile(a, b, total, offsets, row, tile, first, shape, terms):
    """Add one register tile of products to the weight gradient, ``shape`` (rows, columns) of which it covers.

    ``shape`` ends with NR and the elements from row to row of b, ``first`` are the places in a, b and total, ``terms``
    the micro-kernel's first four. ``offsets`` are those of rows in ``tile``, in ``total`` and, from ``row`` on, in
    ``a``, whose rows are neighbours where ``row`` is negative; behind a tile's last row are zeros to start from.
    """
    (height, width, columns, pitch), (runs, run, jump, step) = shape, terms
    whole = height == MR and width == columns
    c, rows, origin = total, offsets[1], first[2]
    if not whole:
        c, rows, origin = tile, offsets[0], 0
    at, more = (first[0], first[1], origin, MAX_MR * MAX_NR), (runs, run, jump, step, 1 if whole else 0, pitch)
    if row < 0:
        multiply_neighbours(columns, a, rows, b, c, rows, tile, at, more)
    else:
        multiply_strided(columns, a, offsets[2, row:], b, c, rows, tile, at, more)
    if not whole:
        for i in range(height):
            for f in range(width):
                total[first[2] + offsets[1, i] + f] += tile[i * columns + f]
