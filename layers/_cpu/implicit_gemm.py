"""Convolution straight from the image (implicit matrix products): no patches are copied, see the micro-kernel.

An image is copied once with its padding, so that all windows lie inside. The rows of a tile are output pixels, whose
patches are runs of KW * channels floats in the padded image, one for each row of the kernel.
"""

from netspec.plugin import Lazy, device

_MICRO = "netspec.layers._cpu.gemm_microkernel"
ROWS, NARROW, BROAD = Lazy(_MICRO, "ROWS"), Lazy(_MICRO, "NARROW"), Lazy(_MICRO, "BROAD")
narrow, broad = Lazy(_MICRO, "narrow"), Lazy(_MICRO, "broad")
narrow_strided, broad_strided = Lazy(_MICRO, "narrow_strided"), Lazy(_MICRO, "broad_strided")

MOST = 48
"""The broadest tile of any CPU: what packed arrays leave room for."""


@device
def columns_of(count):
    """Columns of the tiles for so many outputs."""
    return BROAD if count % BROAD == 0 else NARROW


@device
def pack_weights(weight, packed, group, groups, flip):
    """The weights of one group as panels of columns, term after term; flipped and transposed for d_x."""
    size_h, size_w, depth, share = weight.shape[0], weight.shape[1], weight.shape[2], weight.shape[3] // groups
    inner, outputs = (share, depth) if flip else (depth, share)
    columns = columns_of(outputs)
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
def pad_image(x, n, first, depth, padded, height, width, top, left):
    """Copy channels [first, first + depth) of image n into a (height, width, depth) image at (top, left)."""
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
def locate(rows, places, first, stop, out_w, down, right, filters):
    """Where each pixel of output rows [first, stop) has its result, and its patch in an image that begins with theirs.

    The last pixel is repeated to fill its tile.
    """
    at = 0
    for oh in range(first, stop):
        for ow in range(out_w):
            rows[at], places[at] = (oh - first) * down + ow * right, (oh * out_w + ow) * filters
            at += 1
    for extra in range(at, at + ROWS):
        rows[extra], places[extra] = rows[at - 1], places[at - 1]


@device
def products(padded, rows, packed, y, places, y_first, start, s_first, outputs, pixels, runs, run, jump, tile, flat):
    """All tiles of one image: ``outputs`` columns of its pixels, panel after panel."""
    columns = columns_of(outputs)
    for first in range(0, outputs, columns):
        panel, width = first * runs * run, min(columns, outputs - first)
        for p in range(0, pixels, ROWS):
            target, spots, origin = y, places[p:], y_first + first
            if width < columns:
                target, spots, origin = tile, flat, 0
            if columns == BROAD:
                broad(
                    padded,
                    rows[p:],
                    0,
                    packed,
                    panel,
                    target,
                    spots,
                    origin,
                    start,
                    s_first + first,
                    runs,
                    run,
                    jump,
                    1,
                    0,
                )
            else:
                narrow(
                    padded,
                    rows[p:],
                    0,
                    packed,
                    panel,
                    target,
                    spots,
                    origin,
                    start,
                    s_first + first,
                    runs,
                    run,
                    jump,
                    1,
                    0,
                )
            if width < columns:
                for i in range(min(ROWS, pixels - p)):
                    for f in range(width):
                        y[y_first + first + places[p + i] + f] = tile[i * columns + f]


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
    """A padded image as panels of ROWS channels, pixel after pixel, zero beyond the last channel."""
    at = 0
    for c0 in range(0, depth, ROWS):
        width = min(ROWS, depth - c0)
        for p in range(pixels):
            for c in range(width):
                panels[at + c] = padded[p * depth + c0 + c]
            for c in range(width, ROWS):
                panels[at + c] = 0.0
            at += ROWS


@device
def add_tile(
    a, ramp, first, panels, b_first, total, places, target, height, width, columns, runs, run, jump, step, tile, zeros
):
    """Add one tile's products over all pixels of an image to the weight gradient, of which it may cover a part only."""
    whole = height == ROWS and width == columns
    c, spots, origin = total, places, target
    if not whole:
        c, spots, origin = tile, ramp[ROWS:], 0
    if columns == BROAD:
        broad_strided(
            a, ramp, first, panels, b_first, c, spots, origin, zeros, 0, runs, run, jump, step, 1 if whole else 0
        )
    else:
        narrow_strided(
            a, ramp, first, panels, b_first, c, spots, origin, zeros, 0, runs, run, jump, step, 1 if whole else 0
        )
    if not whole:
        for i in range(height):
            for f in range(width):
                total[target + places[i] + f] += tile[i * columns + f]
