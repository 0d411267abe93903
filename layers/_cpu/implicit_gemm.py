"""Implicit GEMM on CPUs: the micro-kernel reads windows from the padded image, im2col's matrix is never laid out.

An image is copied once with its padding, so that all windows lie inside. The rows of a register tile are output pixels,
whose patches are runs of KW * channels floats in the padded image, one for each row of the window. The other operand is
packed into panels of NR columns, term after term, zero beyond the last column.
"""

from netspec.plugin import Lazy, device

_MICRO = "netspec.layers._cpu.gemm_microkernel"
MR, NARROW, WIDE = (Lazy(_MICRO, name) for name in ("MR", "NARROW", "WIDE"))
multiply_narrow, multiply_wide = Lazy(_MICRO, "multiply_narrow"), Lazy(_MICRO, "multiply_wide")
strided_narrow, strided_wide = Lazy(_MICRO, "strided_narrow"), Lazy(_MICRO, "strided_wide")

MAX_MR, MAX_NR = 8, 48
"""The largest register tile of any CPU: what packed arrays leave room for."""


@device
def panel_width(outputs):
    """NR of the register tile for so many columns."""
    return WIDE if outputs % WIDE == 0 else NARROW


@device
def multiply(width, a, b, c, start, terms):
    """The micro-kernel for panels of that width."""
    if width == WIDE:
        multiply_wide(a, b, c, start, terms)
    else:
        multiply_narrow(a, b, c, start, terms)


@device
def multiply_strided(width, a, b, c, start, terms):
    """The micro-kernel whose rows are neighbours in memory."""
    if width == WIDE:
        strided_wide(a, b, c, start, terms)
    else:
        strided_narrow(a, b, c, start, terms)


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
def pad_image(x, n, first, depth, padded, shape, pad):
    """Copy channels [first, first + depth) of image n, behind ``pad`` rows and columns of zeros, into ``padded``.

    ``shape`` is the padded image's (height, width).
    """
    (height, width), (top, left) = shape, pad
    image = padded[: height * width * depth].reshape(height, width, depth)
    for h in range(height):
        row = h - top
        if row < 0 or row >= x.shape[1]:
            image[h] = 0
            continue
        begin, end = min(max(left, 0), width), max(min(x.shape[2] + left, width), 0)
        image[h, :begin] = 0
        for w in range(begin, end):
            for c in range(depth):
                image[h, w, c] = x[n, row, w - left, first + c]
        image[h, max(begin, end) :] = 0


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
    columns = panel_width(outputs)
    for f in range(0, outputs, columns):
        width = min(columns, outputs - f)
        for p in range(0, pixels, MR):
            c = (y, offsets[1, p:], first + f, 0)
            if width < columns:
                c = (tile, offsets[2, 0:], 0, 0)
            multiply(
                columns, (padded, offsets[0, p:], 0), (packed, f * runs * run), c, (start_row, f), (runs, run, jump, 1)
            )
            if width < columns:
                for i in range(min(MR, pixels - p)):
                    for j in range(width):
                        y[first + f + offsets[1, p + i] + j] = tile[i * columns + j]


@device
def add_tile(a, b, total, first, offsets, tile, shape, terms):
    """Add one register tile of products to the weight gradient from ``first`` on, ``shape`` of which it covers.

    ``offsets`` are those of rows in ``tile`` and in ``total``; the rows behind a tile's last one are zeros to start
    from. ``a`` and ``b`` are arrays and where their terms begin.
    """
    height, width, columns = shape
    whole = height == MR and width == columns
    c = (total, offsets[1, 0:], first, 1)
    if not whole:
        c = (tile, offsets[0, 0:], 0, 0)
    multiply_strided(columns, (a[0], offsets[0, 0:], a[1]), b, c, (tile, MAX_MR * MAX_NR), terms)
    if not whole:
        for i in range(height):
            for f in range(width):
                total[first + offsets[1, i] + f] += tile[i * columns + f]
