"""Pieces of Winograd's convolutions: transformed tiles and the matrix products between them.

In the terms of Lavin and Gray: V are the transformed pixels, U the transformed filters, M their products. Each of the
points of the transformed tiles has a matrix product of its own: tiles by channels times channels by filters, or, for
the weight gradient, channels by tiles times tiles by filters. Between the matrices of neighbouring points lie GAP
unused elements, lest the addresses of one vector fall into the same cache sets. ``form`` has the sides of tiles and
filters, see winograd_forms.
"""

from netspec.layers._cpu.implicit_gemm import MAX_MR, MAX_NR, MR, multiply, pad_image, panel_width
from netspec.layers._cpu.winograd_forms import points, span
from netspec.plugin import Lazy, device

_MICRO, _TRANSFORMS = "netspec.layers._cpu.gemm_microkernel", "netspec.layers._cpu.winograd_transforms"
multiply_blocked = Lazy(_MICRO, "multiply_blocked")
copy_fours = Lazy(_TRANSFORMS, "copy_fours")
LANES, output_transform = Lazy(_TRANSFORMS, "LANES"), Lazy(_TRANSFORMS, "output_transform")
input_transform, gradient_transform = Lazy(_TRANSFORMS, "input_transform"), Lazy(_TRANSFORMS, "gradient_transform")
filter_transform, filter_gradient = Lazy(_TRANSFORMS, "filter_transform"), Lazy(_TRANSFORMS, "filter_gradient")

GAP = 16
"""Elements between the points' matrices."""
MAX_LANES = 16
"""The longest vector of any CPU."""
TILES_AT_ONCE, TILES_OF_GRADIENT = 48, 128
"""Tiles of one set of products, forward and for the weight gradient: enough to make good use of packed filters."""


@device
def tiles(form, length):
    """Tiles along one side of the results."""
    return (length + form.tile - 1) // form.tile


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
def tile_at(form, number, y):
    """Image, row and column of a tile, which are numbered through the batch."""
    across = tiles(form, y.shape[2])
    each = tiles(form, y.shape[1]) * across
    return number // each, number % each // across, number % across


@device
def tile_of(form, row, y):
    """The first tile of a row of results, both numbered through the batch."""
    n, i = row // y.shape[1], row % y.shape[1] // form.tile
    return (n * tiles(form, y.shape[1]) + i) * tiles(form, y.shape[2])


# Strides: a convolution over cells ----------------------------------------------------------------------------------


@device
def cell_weight(tap, c, form, stride, depth):
    """Row, column and channel of a filter's weight at tap ``tap`` and channel c of cells, see ``pad_cells``."""
    i, j = tap // form.size * stride + c // depth // stride, tap % form.size * stride + c // depth % stride
    return i, j, c % depth


@device
def pad_cells(x, n, first, depth, stride, padded, shape, pad):
    """Copy channels [first, first + depth) of image n, padded as by ``pad_image``, in cells of stride x stride pixels.

    A cell is one pixel of stride * stride * depth channels, so that the convolution over them has no stride. ``shape``
    is (height, width) in cells, ``pad`` counts pixels.
    """
    (height, width), (top, left), run = shape, pad, stride * depth
    if stride == 1:
        pad_image(x, n, first, depth, padded, shape, pad)
        return
    pixels, channels = x.reshape(x.size), x.shape[3]
    for h in range(height * stride):
        row, begin = h - top, (h // stride * width * stride + h % stride) * run
        inside, line = 0 <= row < x.shape[1], (n * x.shape[1] + row) * x.shape[2] * channels + first
        for w in range(width):
            column, cell = w * stride - left, begin + w * stride * run
            if inside and column >= 0 and column + stride <= x.shape[2] and depth == channels:
                copy_run(pixels, line + column * depth, padded, cell, run)
                continue
            for s in range(stride):
                if inside and 0 <= column + s < x.shape[2]:
                    copy_run(pixels, line + (column + s) * channels, padded, cell + s * depth, depth)
                else:
                    padded[cell + s * depth : cell + (s + 1) * depth] = 0


@device
def copy_run(source, begin, target, at, count):
    """A few elements, by fours and then one by one: a loop over whole vectors is slow to begin."""
    copy_fours(source, target, (begin, at, count // 4))
    for i in range(count // 4 * 4, count):
        target[at + i] = source[begin + i]


# Transforms ---------------------------------------------------------------------------------------------------------


@device
def transform_filters(form, weight, packed, c, group, groups, stride, tile):
    """U: the filters' element c, as panels of columns for each point; for d_x, flipped and transposed, stride is 0."""
    depth, share, size = weight.shape[2], weight.shape[3] // groups, form.size
    inner, outputs = (share, depth) if stride == 0 else (depth * stride * stride, share)
    columns, width = panel_width(outputs), whole_panels(outputs)
    step = inner * width + GAP
    for f0 in range(0, width, LANES):
        for tap in range(size * size):
            i, j, k = cell_weight(tap, c, form, max(stride, 1), depth)
            for lane in range(LANES):
                f, value = f0 + lane, 0.0
                if f < outputs and stride == 0:
                    value = weight[size - 1 - tap // size, size - 1 - tap % size, f, group * share + c]
                elif f < outputs and i < weight.shape[0] and j < weight.shape[1]:
                    value = weight[i, j, k, group * share + f]
                tile[tap * LANES + lane] = value
        at = (f0 // columns * inner + c) * columns + f0 % columns
        filter_transform(form, tile, (0, size * LANES, LANES), packed, (at, span(form) * step, step))


@device
def transform_pixels(form, padded, corner, line, depth, v, first, apart, step):
    """V: the pixels of one tile, vectors of channels ``apart`` elements from each other."""
    for c in range(0, depth, LANES):
        at = first + c // LANES * apart
        input_transform(form, padded, (corner + c, line, depth), v, (at, span(form) * step, step))


@device
def transform_gradient(form, padded, corner, line, share, slopes, t, terms, step):
    """The gradients of tile t as a row of panels of columns."""
    columns = panel_width(share)
    for f in range(0, share, LANES):
        at = f // columns * columns * terms + t * columns + f % columns
        gradient_transform(form, padded, (corner + f, line, share), slopes, (at, span(form) * step, step))


@device
def put_tile(form, m, first, step, y, number, channel, share, start_row, tile):
    """Transform one tile's products and store what of it lies in the image."""
    (n, i, j), side, rise = tile_at(form, number, y), form.tile, span(form) * step
    height, width, filters, flat = y.shape[1], y.shape[2], y.shape[3], y.reshape(y.size)
    rows, columns = min(side, height - i * side), min(side, width - j * side)
    corner, line = ((n * height + i * side) * width + j * side) * filters + channel, width * filters
    for f in range(0, share, LANES):
        at = (first + f, rise, step)
        if f + LANES <= share:
            output_transform(form, m, at, flat, (corner + f, line, filters), start_row, (f, rows, columns))
            continue
        output_transform(form, m, at, tile, (0, side * LANES, LANES), start_row, (f, side, side))
        for a in range(rows):
            for b in range(columns):
                for e in range(share - f):
                    flat[corner + a * line + b * filters + f + e] = tile[(a * side + b) * LANES + e]


@device
def put_gradient(form, m, partial, channel, shape, stride, tile):
    """Transform the products of all points to the gradients of one group's weights.

    ``shape``: rows and columns of a filter, its channels, the group's filters and all.
    """
    (size_h, size_w, depth, share, filters), width, size = shape, whole_panels(shape[3]), form.size
    inner, line = depth * stride * stride, depth * filters
    step = (inner + MAX_MR) * width + GAP
    for c in range(inner):
        for f in range(0, share, LANES):
            whole, target, place = f + LANES <= share and stride == 1, tile, (0, size * LANES, LANES)
            if whole:
                target, place = partial, (c * filters + channel + f, size * line, line)
            filter_gradient(form, m, (c * width + f, span(form) * step, step), target, place)
            if whole:
                continue
            for tap in range(size * size):
                i, j, k = cell_weight(tap, c, form, stride, depth)
                if i < size_h and j < size_w:
                    for e in range(min(LANES, share - f)):
                        at = ((i * size_w + j) * depth + k) * filters + channel + f + e
                        partial[at] = tile[tap * LANES + e]


# Convolution --------------------------------------------------------------------------------------------------------


@device
def convolve(form, x, y, lines, group, groups, filters, scratch, pad, stride):
    """Rows of results [first, stop) of one group, TILES_AT_ONCE tiles at a time.

    Rows are numbered through the batch, and tiles do not reach beyond them. ``filters`` are U and the row of starting
    values, ``scratch`` the padded image, V, M, offsets and a tile.
    """
    (padded, v, m, offsets, tile), image, side = scratch, -1, form.tile
    channels, share, across = x.shape[3] // groups, y.shape[3] // groups, tiles(form, y.shape[2])
    shape = (tiles(form, y.shape[1]) * side + form.size - 1, across * side + form.size - 1)
    depth, width = channels * stride * stride, whole_panels(share)
    line, deep = shape[1] * depth, whole_vectors(depth)
    begin, end = tile_of(form, lines[0], y), tile_of(form, lines[1], y)
    at_once = min(TILES_AT_ONCE, end - begin)
    v_step, m_step = at_once * deep + GAP, at_once * width + GAP
    for first in range(begin, end, at_once):
        count = min(at_once, end - first)
        for t in range(count):
            n, i, j = tile_at(form, first + t, y)
            if n != image:
                pad_cells(x, n, group * channels, channels, stride, padded, shape, pad)
                image = n
            transform_pixels(form, padded, (i * line + j * depth) * side, line, depth, v, t * deep, LANES, v_step)
        multiply_tiles(form, v, v_step, filters[0], m, m_step, (count, depth, share), offsets, tile)
        for t in range(count):
            put_tile(form, m, t * width, m_step, y, first + t, group * share, share, filters[1], tile)


@device
def convolve_filters(form, x, y, outputs, group, groups, filters, scratch, pad, stride):
    """The same of all rows and filters [first, stop) of one group, whole panels, in sets that fill register tiles."""
    (padded, v, m, offsets, tile), side, (first, stop) = scratch, form.tile, outputs
    channels, share = x.shape[3] // groups, y.shape[3] // groups
    across, count = tiles(form, y.shape[2]), y.shape[0] * tiles(form, y.shape[1]) * tiles(form, y.shape[2])
    shape = (tiles(form, y.shape[1]) * side + form.size - 1, across * side + form.size - 1)
    depth, image = channels * stride * stride, -1
    line, deep, width = shape[1] * depth, whole_vectors(depth), stop - first
    sets = (count + TILES_AT_ONCE - 1) // TILES_AT_ONCE
    at_once = min(((count + sets - 1) // sets + MR - 1) // MR * MR, count)
    v_step, m_step = at_once * deep + GAP, at_once * width + GAP
    for begin in range(0, count, at_once):
        some = min(at_once, count - begin)
        for t in range(some):
            n, i, j = tile_at(form, begin + t, y)
            if n != image:
                pad_cells(x, n, group * channels, channels, stride, padded, shape, pad)
                image = n
            transform_pixels(form, padded, (i * line + j * depth) * side, line, depth, v, t * deep, LANES, v_step)
        multiply_panels(form, v, v_step, filters[0], m, m_step, (some, depth, share), outputs, offsets, tile)
        for t in range(some):
            put_tile(form, m, t * width, m_step, y, begin + t, group * share + first, width, filters[1][first:], tile)


@device
def multiply_tiles(form, v, v_step, packed, m, m_step, sizes, offsets, zeros):
    """M = V U for all points: tiles by channels times channels by filters."""
    multiply_panels(form, v, v_step, packed, m, m_step, sizes, (0, whole_panels(sizes[2])), offsets, zeros)


@device
def multiply_panels(form, v, v_step, packed, m, m_step, sizes, outputs, offsets, zeros):
    """The columns of M of ``outputs`` [first, stop), whole panels."""
    (count, depth, share), (first, stop) = sizes, outputs
    columns, width, deep = panel_width(share), whole_panels(share), whole_vectors(depth)
    zeros[:MAX_NR] = 0
    for t in range(count + MR):
        offsets[0, t], offsets[1, t] = min(t, count - 1) * deep, min(t, count - 1) * (stop - first)
    for point in range(points(form)):
        for f in range(first, stop, columns):
            at = (point * v_step, point * (depth * width + GAP) + f * depth, point * m_step + f - first, 0)
            for t in range(0, count, MR):
                multiply(columns, v, offsets[0, t:], packed, m, offsets[1, t:], zeros, at, (1, depth, 0, 1, 0))


# Weight gradient ----------------------------------------------------------------------------------------------------


@device
def correlate(form, x, dy, images, group, groups, partial, scratch, pad, filters):
    """Weight gradients of one group over images [first, stop), TILES_OF_GRADIENT tiles at a time.

    ``scratch``: the padded image and gradient, V, the transformed gradients, M, offsets and a tile. ``filters``: their
    rows, columns and stride.
    """
    (padded, padded_dy, v, slopes, m, offsets, tile), image, side, stride = scratch, -1, form.tile, filters[2]
    channels, share, more = x.shape[3] // groups, dy.shape[3] // groups, form.size - 1
    depth, height, width = channels * stride * stride, tiles(form, dy.shape[1]) * side, tiles(form, dy.shape[2]) * side
    each, line = height * width // side**2, (width + more) * depth
    terms = min(TILES_OF_GRADIENT, (images[1] - images[0]) * each)
    v_step, g_step = terms * whole_vectors(depth + MAX_MR) + GAP, terms * whole_panels(share) + GAP
    for first in range(images[0] * each, images[1] * each, terms):
        count = min(terms, images[1] * each - first)
        for t in range(count):
            n, i, j = tile_at(form, first + t, dy)
            if n != image:
                pad_cells(x, n, group * channels, channels, stride, padded, (height + more, width + more), pad)
                pad_image(dy, n, group * share, share, padded_dy, (height, width), (0, 0))
                image = n
            corner = (i * line + j * depth) * side
            transform_pixels(form, padded, corner, line, depth, v, t * LANES, terms * LANES, v_step)
            corner = (i * width + j) * side * share
            transform_gradient(form, padded_dy, corner, width * share, share, slopes, t, terms, g_step)
        again = 1 if first > images[0] * each else 0
        accumulate(form, v, v_step, slopes, g_step, m, (terms, count, depth, share), offsets, tile, again)
    shape = (filters[0], filters[1], channels, share, groups * share)
    put_gradient(form, m, partial, group * share, shape, stride, tile)


@device
def accumulate(form, v, v_step, slopes, g_step, m, sizes, offsets, zeros, more):
    """The products of all points: channels by tiles times tiles by filters; with ``more`` added to what M holds."""
    terms, count, depth, share = sizes
    columns, width = panel_width(share), whole_panels(share)
    m_step, rows = (depth + MAX_MR) * width + GAP, offsets[1]
    zeros[:MAX_NR] = 0
    for i in range(MR):
        rows[i] = i * width
    for c in range(depth + MR):
        offsets[0, c] = c // LANES * LANES * terms + c % LANES
    for point in range(points(form)):
        for f in range(0, width, columns):
            for c in range(0, depth, MR):
                at = (point * v_step, point * g_step + f * terms, point * m_step + c * width + f, 0)
                multiply_blocked(columns, v, offsets[0, c:], slopes, m, rows, zeros, at, (1, count, 0, 1, more))
