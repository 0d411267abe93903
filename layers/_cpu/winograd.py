"""Pieces of Winograd's convolution F(4x4, 3x3): tiles through the transforms and the products between them.

Each of the 36 points of the transformed tiles has a matrix product of its own: tiles by channels times channels by
filters, or, for the weight gradient, channels by tiles times tiles by filters. Between the matrices of neighbouring
points lie GAP unused elements, lest the 36 places of one vector fall into the same lines of the cache.
"""

from netspec.layers._cpu.implicit_gemm import BROAD, MOST, ROWS, broad, columns_of, narrow, pad_image
from netspec.plugin import Lazy, device

_MICRO, _TRANSFORMS = "netspec.layers._cpu.gemm_microkernel", "netspec.layers._cpu.winograd_transforms"
narrow_blocked, broad_blocked = Lazy(_MICRO, "narrow_blocked"), Lazy(_MICRO, "broad_blocked")
LANES, output_transform = Lazy(_TRANSFORMS, "LANES"), Lazy(_TRANSFORMS, "output_transform")
input_transform, gradient_transform = Lazy(_TRANSFORMS, "input_transform"), Lazy(_TRANSFORMS, "gradient_transform")
filter_transform, filter_gradient = Lazy(_TRANSFORMS, "filter_transform"), Lazy(_TRANSFORMS, "filter_gradient")

TILE, SPAN, POINTS, GAP = 4, 6, 36, 16
"""Side of a tile of results and of the pixels that it reads; points; elements between the points' matrices."""
MOST_LANES, MOST_ROWS = 16, 8
"""The longest vector and the tallest tile of the micro-kernel on any CPU."""
AT_ONCE, TERMS = 48, 128
"""Tiles of one set of products, forward and for the weight gradient: enough to make good use of packed filters."""


@device
def tiles(length):
    """Tiles along one side of the results."""
    return (length + TILE - 1) // TILE


@device
def whole_vectors(channels):
    """Channels rounded up so that vectors have room, the same on any CPU."""
    return (channels + MOST_LANES - 1) // MOST_LANES * MOST_LANES


@device
def whole_panels(outputs):
    """Outputs rounded up to whole panels of the micro-kernel."""
    columns = columns_of(outputs)
    return (outputs + columns - 1) // columns * columns


@device
def tile_at(number, y):
    """Image, row and column of a tile, which are numbered through the batch."""
    across = tiles(y.shape[2])
    each = tiles(y.shape[1]) * across
    return number // each, number % each // across, number % across


@device
def transform_filters(weight, packed, c, group, groups, flip, patch):
    """The filters' element c, transformed, as panels of columns for each point; flipped and transposed for d_x."""
    depth, share = weight.shape[2], weight.shape[3] // groups
    inner, outputs = (share, depth) if flip else (depth, share)
    columns, width = columns_of(outputs), whole_panels(outputs)
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
                patch[tap * LANES + lane] = value
        at = (f0 // columns * inner + c) * columns + f0 % columns
        filter_transform(patch, 0, 3 * LANES, LANES, packed, at, SPAN * step, step)


@device
def transform_pixels(padded, corner, line, depth, spectra, first, apart, step):
    """The 6 x 6 pixels of one tile, vectors of channels ``apart`` elements from each other."""
    for c in range(0, depth, LANES):
        at = first + c // LANES * apart
        input_transform(padded, corner + c, line, depth, spectra, at, SPAN * step, step)


@device
def transform_gradient(padded, corner, line, share, slopes, t, columns, terms, step):
    """The 4 x 4 gradients of tile t as a row of the panels of columns."""
    for f in range(0, share, LANES):
        at = f // columns * columns * terms + t * columns + f % columns
        gradient_transform(padded, corner + f, line, share, slopes, at, SPAN * step, step)


@device
def convolve(x, y, start, stop, group, groups, packed, start_row, padded, spectra, sums, places, tile, top, left):
    """Images [start, stop) of one group, AT_ONCE tiles at a time."""
    depth, share, flat, image = x.shape[3] // groups, y.shape[3] // groups, y.reshape(y.size), -1
    each, line = tiles(y.shape[1]) * tiles(y.shape[2]), (tiles(y.shape[2]) * TILE + 2) * depth
    deep, broad_share = whole_vectors(depth), whole_panels(share)
    at_once = min(AT_ONCE, (stop - start) * each)
    s_step, m_step = at_once * deep + GAP, at_once * broad_share + GAP
    for first in range(start * each, stop * each, at_once):
        count = min(at_once, stop * each - first)
        for t in range(count):
            n, i, j = tile_at(first + t, y)
            if n != image:
                pad_image(x, n, group * depth, depth, padded, tiles(y.shape[1]) * TILE + 2, line // depth, top, left)
                image = n
            transform_pixels(padded, (i * line + j * depth) * TILE, line, depth, spectra, t * deep, LANES, s_step)
        multiply(spectra, s_step, deep, packed, sums, m_step, count, depth, share, places, tile)
        for t in range(count):
            put_tile(sums, t * broad_share, m_step, flat, y, first + t, group * share, share, start_row, tile)


@device
def multiply(spectra, s_step, deep, packed, sums, m_step, count, depth, share, places, zeros):
    """The products of all points: tiles by channels times channels by filters."""
    columns, width = columns_of(share), whole_panels(share)
    zeros[:MOST] = 0
    for t in range(count + ROWS):
        places[0, t], places[1, t] = min(t, count - 1) * deep, min(t, count - 1) * width
    for point in range(POINTS):
        first = point * s_step
        for f in range(0, width, columns):
            panel, target = point * (depth * width + GAP) + f * depth, point * m_step + f
            for t in range(0, count, ROWS):
                rows, spots = places[0, t:], places[1, t:]
                if columns == BROAD:
                    broad(spectra, rows, first, packed, panel, sums, spots, target, zeros, 0, 1, depth, 0, 1, 0)
                else:
                    narrow(spectra, rows, first, packed, panel, sums, spots, target, zeros, 0, 1, depth, 0, 1, 0)


@device
def put_tile(sums, first, step, flat, y, number, channel, share, start_row, tile):
    """Transform one tile's sums and store what of it lies in the image."""
    n, i, j = tile_at(number, y)
    height, width, filters = y.shape[1], y.shape[2], y.shape[3]
    rows, columns = min(TILE, height - i * TILE), min(TILE, width - j * TILE)
    corner, line = ((n * height + i * TILE) * width + j * TILE) * filters + channel, width * filters
    for f in range(0, share, LANES):
        s, f_sums = SPAN * step, first + f
        if f + LANES <= share:
            output_transform(sums, f_sums, s, step, flat, corner + f, line, filters, start_row, f, rows, columns)
            continue
        output_transform(sums, f_sums, s, step, tile, 0, TILE * LANES, LANES, start_row, f, TILE, TILE)
        for a in range(rows):
            for b in range(columns):
                for e in range(share - f):
                    flat[corner + a * line + b * filters + f + e] = tile[(a * TILE + b) * LANES + e]


@device
def correlate(
    x, dy, start, stop, group, groups, partial, padded, behind, spectra, slopes, sums, places, tile, top, left
):
    """Weight gradients of one group over images [start, stop), TERMS tiles at a time."""
    depth, share, image = x.shape[3] // groups, dy.shape[3] // groups, -1
    height, width = tiles(dy.shape[1]) * TILE, tiles(dy.shape[2]) * TILE
    each, line = height * width // TILE**2, (width + 2) * depth
    terms = min(TERMS, (stop - start) * each)
    s_step, g_step = terms * whole_vectors(depth + MOST_ROWS) + GAP, terms * whole_panels(share) + GAP
    for first in range(start * each, stop * each, terms):
        count = min(terms, stop * each - first)
        for t in range(count):
            n, i, j = tile_at(first + t, dy)
            if n != image:
                pad_image(x, n, group * depth, depth, padded, height + 2, width + 2, top, left)
                pad_image(dy, n, group * share, share, behind, height, width, 0, 0)
                image = n
            corner = (i * line + j * depth) * TILE
            transform_pixels(padded, corner, line, depth, spectra, t * LANES, terms * LANES, s_step)
            corner = (i * width + j) * TILE * share
            transform_gradient(behind, corner, width * share, share, slopes, t, columns_of(share), terms, g_step)
        more = 1 if first > start * each else 0
        accumulate(spectra, s_step, slopes, g_step, sums, terms, count, depth, share, places, tile, more)
    put_gradient(sums, partial, group * share, share, depth, groups * share, tile)


@device
def accumulate(spectra, s_step, slopes, g_step, sums, terms, count, depth, share, places, zeros, more):
    """The products of all points: channels by tiles times tiles by filters; with ``more`` added to what sums hold."""
    columns, width = columns_of(share), whole_panels(share)
    m_step, spots = (depth + MOST_ROWS) * width + GAP, places[1]
    zeros[:MOST] = 0
    for i in range(ROWS):
        spots[i] = i * width
    for c in range(depth + ROWS):
        places[0, c] = c // LANES * LANES * terms + c % LANES
    for point in range(POINTS):
        first = point * s_step
        for f in range(0, width, columns):
            panel = point * g_step + f * terms
            for c in range(0, depth, ROWS):
                rows, target = places[0, c:], point * m_step + c * width + f
                if columns == BROAD:
                    broad_blocked(
                        spectra, rows, first, slopes, panel, sums, spots, target, zeros, 0, 1, count, 0, 1, more
                    )
                else:
                    narrow_blocked(
                        spectra, rows, first, slopes, panel, sums, spots, target, zeros, 0, 1, count, 0, 1, more
                    )


@device
def put_gradient(sums, partial, channel, share, depth, filters, tile):
    """Transform the sums of all points to the gradients of one group's weights."""
    width = whole_panels(share)
    step, tap = (depth + MOST_ROWS) * width + GAP, depth * filters
    for c in range(depth):
        for f in range(0, share, LANES):
            first, at = c * width + f, c * filters + channel + f
            if f + LANES <= share:
                filter_gradient(sums, first, SPAN * step, step, partial, at, 3 * tap, tap)
                continue
            filter_gradient(sums, first, SPAN * step, step, tile, 0, 3 * LANES, LANES)
            for k in range(9):
                for e in range(share - f):
                    partial[k * tap + at + e] = tile[k * LANES + e]
