"""Pieces of Winograd's convolution F(4x4, 3x3): transformed tiles and the matrix products between them.

In the terms of Lavin and Gray: V are the transformed pixels, U the transformed filters, M their products. Each of the
36 points of the transformed tiles has a matrix product of its own: tiles by channels times channels by filters, or, for
the weight gradient, channels by tiles times tiles by filters. Between the matrices of neighbouring points lie GAP
unused elements, lest the 36 addresses of one vector fall into the same cache sets.
"""

from netspec.layers._cpu.implicit_gemm import MAX_MR, MAX_NR, MR, multiply, pad_image, panel_width
from netspec.plugin import Lazy, device

_MICRO, _TRANSFORMS = "netspec.layers._cpu.gemm_microkernel", "netspec.layers._cpu.winograd_transforms"
multiply_blocked = Lazy(_MICRO, "multiply_blocked")
LANES, output_transform = Lazy(_TRANSFORMS, "LANES"), Lazy(_TRANSFORMS, "output_transform")
input_transform, gradient_transform = Lazy(_TRANSFORMS, "input_transform"), Lazy(_TRANSFORMS, "gradient_transform")
filter_transform, filter_gradient = Lazy(_TRANSFORMS, "filter_transform"), Lazy(_TRANSFORMS, "filter_gradient")

TILE, SPAN, POINTS, GAP = 4, 6, 36, 16
"""Side of a tile of results and of the pixels that it reads; points; elements between the points' matrices."""
MAX_LANES = 16
"""The longest vector of any CPU."""
TILES_AT_ONCE, TILES_OF_GRADIENT = 48, 128
"""Tiles of one set of products, forward and for the weight gradient: enough to make good use of packed filters."""


@device
def tiles(length):
    """Tiles along one side of the results."""
    return (length + TILE - 1) // TILE


@device
def whole_vectors(channels):
    """Channels rounded up so that vectors have room, the same on any CPU."""
    return (channels + MAX_LANES - 1) // MAX_LANES * MAX_LANES


@device
def whole_panels(outputs):
    """Outputs rounded up to whole panels of the micro-kernel."""
    columns = panel_width(outputs)
    return (outputs + columns - 1) // columns * columns


@device
def tile_at(number, y):
    """Image, row and column of a tile, which are numbered through the batch."""
    across = tiles(y.shape[2])
    each = tiles(y.shape[1]) * across
    return number // each, number % each // across, number % across


# Transforms ---------------------------------------------------------------------------------------------------------


@device
def transform_filters(weight, packed, c, group, groups, flip, tile):
    """U: the filters' element c, as panels of columns for each point; flipped and transposed for d_x."""
    depth, share = weight.shape[2], weight.shape[3] // groups
    inner, outputs = (share, depth) if flip else (depth, share)
    columns, width = panel_width(outputs), whole_panels(outputs)
    step = inner * width + GAP
    for f0 in range(0, width, LANES):
        for tap in range(9):
            i, j = tap // 3, tap % 3
            for lane in range(LANES):
                f, value = f0 + lane, 0.0
                if f < outputs and flip:
                    value = weight[2 - i, 2 - j, f, group * share + c]
                elif f < outputs:
                    value = weight[i, j, c, group * share + f]
                tile[tap * LANES + lane] = value
        at = (f0 // columns * inner + c) * columns + f0 % columns
        filter_transform(tile, (0, 3 * LANES, LANES), packed, (at, SPAN * step, step))


@device
def transform_pixels(padded, corner, line, depth, v, first, apart, step):
    """V: the 6 x 6 pixels of one tile, vectors of channels ``apart`` elements from each other."""
    for c in range(0, depth, LANES):
        at = first + c // LANES * apart
        input_transform(padded, (corner + c, line, depth), v, (at, SPAN * step, step))


@device
def transform_gradient(padded, corner, line, share, slopes, t, terms, step):
    """The 4 x 4 gradients of tile t as a row of panels of columns."""
    columns = panel_width(share)
    for f in range(0, share, LANES):
        at = f // columns * columns * terms + t * columns + f % columns
        gradient_transform(padded, (corner + f, line, share), slopes, (at, SPAN * step, step))


@device
def put_tile(m, first, step, y, number, channel, share, start_row, tile):
    """Transform one tile's products and store what of it lies in the image."""
    n, i, j = tile_at(number, y)
    height, width, filters, flat = y.shape[1], y.shape[2], y.shape[3], y.reshape(y.size)
    rows, columns = min(TILE, height - i * TILE), min(TILE, width - j * TILE)
    corner, line = ((n * height + i * TILE) * width + j * TILE) * filters + channel, width * filters
    for f in range(0, share, LANES):
        at = (first + f, SPAN * step, step)
        if f + LANES <= share:
            output_transform(m, at, flat, (corner + f, line, filters), start_row, (f, rows, columns))
            continue
        output_transform(m, at, tile, (0, TILE * LANES, LANES), start_row, (f, TILE, TILE))
        for a in range(rows):
            for b in range(columns):
                for e in range(share - f):
                    flat[corner + a * line + b * filters + f + e] = tile[(a * TILE + b) * LANES + e]


@device
def put_gradient(m, partial, channel, share, depth, filters, tile):
    """Transform the products of all points to the gradients of one group's weights."""
    width = whole_panels(share)
    step, tap = (depth + MAX_MR) * width + GAP, depth * filters
    for c in range(depth):
        for f in range(0, share, LANES):
            source, at = (c * width + f, SPAN * step, step), c * filters + channel + f
            if f + LANES <= share:
                filter_gradient(m, source, partial, (at, 3 * tap, tap))
                continue
            filter_gradient(m, source, tile, (0, 3 * LANES, LANES))
            for k in range(9):
                for e in range(share - f):
                    partial[k * tap + at + e] = tile[k * LANES + e]


# Convolution --------------------------------------------------------------------------------------------------------


@device
def convolve(x, y, images, group, groups, filters, scratch, pad):
    """Images [first, stop) of one group, TILES_AT_ONCE tiles at a time.

    ``filters`` are U and the row of starting values, ``scratch`` the padded image, V, M, offsets and a tile.
    """
    (padded, v, m, offsets, tile), image = scratch, -1
    depth, share = x.shape[3] // groups, y.shape[3] // groups
    shape = (tiles(y.shape[1]) * TILE + 2, tiles(y.shape[2]) * TILE + 2)
    each, line = tiles(y.shape[1]) * tiles(y.shape[2]), shape[1] * depth
    deep, width = whole_vectors(depth), whole_panels(share)
    at_once = min(TILES_AT_ONCE, (images[1] - images[0]) * each)
    v_step, m_step = at_once * deep + GAP, at_once * width + GAP
    for first in range(images[0] * each, images[1] * each, at_once):
        count = min(at_once, images[1] * each - first)
        for t in range(count):
            n, i, j = tile_at(first + t, y)
            if n != image:
                pad_image(x, n, group * depth, depth, padded, shape, pad)
                image = n
            transform_pixels(padded, (i * line + j * depth) * TILE, line, depth, v, t * deep, LANES, v_step)
        multiply_tiles(v, v_step, filters[0], m, m_step, (count, depth, share), offsets, tile)
        for t in range(count):
            put_tile(m, t * width, m_step, y, first + t, group * share, share, filters[1], tile)


@device
def multiply_tiles(v, v_step, packed, m, m_step, sizes, offsets, zeros):
    """M = V U for all points: tiles by channels times channels by filters."""
    count, depth, share = sizes
    columns, width, deep = panel_width(share), whole_panels(share), whole_vectors(depth)
    zeros[:MAX_NR] = 0
    for t in range(count + MR):
        offsets[0, t], offsets[1, t] = min(t, count - 1) * deep, min(t, count - 1) * width
    for point in range(POINTS):
        for f in range(0, width, columns):
            at = (point * v_step, point * (depth * width + GAP) + f * depth, point * m_step + f, 0)
            for t in range(0, count, MR):
                multiply(columns, v, offsets[0, t:], packed, m, offsets[1, t:], zeros, at, (1, depth, 0, 1, 0))


# Weight gradient ----------------------------------------------------------------------------------------------------


@device
def correlate(x, dy, images, group, groups, partial, scratch, pad):
    """Weight gradients of one group over images [first, stop), TILES_OF_GRADIENT tiles at a time.

    ``scratch``: the padded image and gradient, V, the transformed gradients, M, offsets and a tile.
    """
    (padded, padded_dy, v, slopes, m, offsets, tile), image = scratch, -1
    depth, share = x.shape[3] // groups, dy.shape[3] // groups
    height, width = tiles(dy.shape[1]) * TILE, tiles(dy.shape[2]) * TILE
    each, line = height * width // TILE**2, (width + 2) * depth
    terms = min(TILES_OF_GRADIENT, (images[1] - images[0]) * each)
    v_step, g_step = terms * whole_vectors(depth + MAX_MR) + GAP, terms * whole_panels(share) + GAP
    for first in range(images[0] * each, images[1] * each, terms):
        count = min(terms, images[1] * each - first)
        for t in range(count):
            n, i, j = tile_at(first + t, dy)
            if n != image:
                pad_image(x, n, group * depth, depth, padded, (height + 2, width + 2), pad)
                pad_image(dy, n, group * share, share, padded_dy, (height, width), (0, 0))
                image = n
            corner = (i * line + j * depth) * TILE
            transform_pixels(padded, corner, line, depth, v, t * LANES, terms * LANES, v_step)
            corner = (i * width + j) * TILE * share
            transform_gradient(padded_dy, corner, width * share, share, slopes, t, terms, g_step)
        more = 1 if first > images[0] * each else 0
        accumulate(v, v_step, slopes, g_step, m, (terms, count, depth, share), offsets, tile, more)
    put_gradient(m, partial, group * share, share, depth, groups * share, tile)


@device
def accumulate(v, v_step, slopes, g_step, m, sizes, offsets, zeros, more):
    """The products of all points: channels by tiles times tiles by filters; with ``more`` added to what M holds."""
    terms, count, depth, share = sizes
    columns, width = panel_width(share), whole_panels(share)
    m_step, rows = (depth + MAX_MR) * width + GAP, offsets[1]
    zeros[:MAX_NR] = 0
    for i in range(MR):
        rows[i] = i * width
    for c in range(depth + MR):
        offsets[0, c] = c // LANES * LANES * terms + c % LANES
    for point in range(POINTS):
        for f in range(0, width, columns):
            for c in range(0, depth, MR):
                at = (point * v_step, point * g_step + f * terms, point * m_step + c * width + f, 0)
                multiply_blocked(columns, v, offsets[0, c:], slopes, m, rows, zeros, at, (1, count, 0, 1, more))
