"""Products of bfloat16 operands on CPUs: packing in pairs of terms, and register tiles of results.

The operand whose columns are the results' is packed in panels of columns: for each pair of terms, all columns' pairs
side by side (VNNI order). Terms and columns beyond the last are zeros.
"""

from netspec.plugin import Lazy, device

_MICRO, _VECTORS = "netspec.layers._cpu.bf16_microkernel", "netspec.layers._cpu.bf16_vectors"
multiply, multiply_stepped = Lazy(_MICRO, "multiply"), Lazy(_MICRO, "multiply_stepped")
copy, clear = Lazy(_VECTORS, "copy"), Lazy(_VECTORS, "clear")
interleave, transpose = Lazy(_VECTORS, "interleave"), Lazy(_VECTORS, "transpose")
fetch = Lazy(_VECTORS, "fetch")
put_rounded = Lazy(_VECTORS, "put_rounded")

WIDE, NARROW, ROWS_OF_WIDE, ROWS_OF_NARROW = 48, 32, 9, 13
"""Columns and rows of the register tiles: 26 or 27 registers of sums, one for each vector of B and one for A."""
MAX_MR, MAX_NR, LANES = ROWS_OF_NARROW, WIDE, 16
AHEAD = 8
"""Rows before their packing from which on they are brought into the cache: they lie on pages of their own."""
SLACK = 2 * MAX_NR * LANES
"""Elements behind packed operands that transposing writes beyond the last pair."""


@device
def panel_width(outputs):
    """Columns of the register tile for so many outputs."""
    return WIDE if outputs % WIDE == 0 and outputs % NARROW != 0 else NARROW


@device
def tile_rows(columns):
    """Rows of the register tile of so many columns."""
    return ROWS_OF_WIDE if columns == WIDE else ROWS_OF_NARROW


# Packing ------------------------------------------------------------------------------------------------------------


@device
def pack_panels(source, at, line, shape, packed, to, columns):
    """A matrix of ``shape`` (terms, columns), whose rows lie ``line`` apart from an element on, as panels of columns.

    All columns of a pair of terms come before the next, so that memory is read in long runs.
    """
    terms, width = shape
    for k in range(0, terms, 2):
        for j in range(0, width, 2 * LANES):
            fetch(source, at + (k + AHEAD) * line + j)
            fetch(source, at + (k + AHEAD + 1) * line + j)
        for f in range(0, width, columns):
            for j in range(f, f + columns, LANES):
                one, other = width - j, width - j if k + 1 < terms else 0
                spot = to + f * even(terms) + k * columns + 2 * (j - f)
                interleave(source, packed, (at + k * line + j, line, spot, one, other))


@device
def pack_transposed_panels(source, at, line, shape, packed, to, columns):
    """The same of a matrix that is stored transposed: its columns are rows of the source, ``line`` apart."""
    terms, width = shape
    for f in range(0, width, columns):
        panel = to + f * even(terms)
        pack_transposed(source, at + f * line, line, (terms, width - f), packed, panel, columns)


@device
def pack_transposed(source, at, line, shape, packed, to, columns):
    """One panel of a matrix that is stored transposed: its columns are rows of the source, ``line`` apart."""
    terms, width = shape
    for k in range(0, terms, 2 * LANES):
        for j in range(0, columns, LANES):
            spot = to + k * columns + 2 * j
            for row in range(j, min(j + LANES, width)):
                fetch(source, at + row * line + k + 4 * LANES)
            transpose(source, packed, (at + j * line + k, line, width - j, terms - k, spot, 2 * columns))


@device
def pack_weights(weight, packed, group, groups):
    """The weights of one group as panels of filters; each row of a window is a run of terms."""
    (size_h, size_w, depth, filters), share = weight.shape, weight.shape[3] // groups
    flat, run, columns, to = weight.reshape(weight.size), size_w * depth, panel_width(share), 0
    for f in range(0, share, columns):
        for i in range(size_h):
            at, shape = i * run * filters + group * share + f, (run, min(columns, share - f))
            pack_panels(flat, at, filters, shape, packed, to, columns)
            to += even(run) * columns


@device
def pack_flipped(weight, packed, group, groups, window):
    """The weights of one group flipped and transposed, as panels of channels, phase after phase of the stride."""
    (size_h, size_w, depth, filters), share = weight.shape, weight.shape[3] // groups
    flat, columns, to = weight.reshape(weight.size), panel_width(depth), 0
    for a in range(window.stride_h):
        for b in range(window.stride_w):
            for c in range(0, depth, columns):
                for i in range(last_tap(a, size_h, window.stride_h), -1, -window.stride_h):
                    for j in range(last_tap(b, size_w, window.stride_w), -1, -window.stride_w):
                        at, shape = ((i * size_w + j) * depth + c) * filters + group * share, (share, depth - c)
                        pack_transposed(flat, at, filters, shape, packed, to, columns)
                        to += even(share) * columns


@device
def even(count):
    """Terms in whole pairs."""
    return count + count % 2


@device
def last_tap(phase, size, stride):
    """The last weight of a phase, every stride-th from ``phase`` on; negative where there is none."""
    return phase + (size - 1 - phase) // stride * stride


@device
def lay_image(x, n, first, depth, padded, place, shape, pad):
    """Copy channels [first, first + depth) of image n, behind ``pad`` rows and columns of zeros, to padded[place:].

    ``shape`` is the padded image's (height, width, channels), of which those beyond ``depth`` are zeros.
    """
    (height, width, pitch), (top, left), flat = shape, pad, x.reshape(x.size)
    begin = min(max(left, 0), width)
    end = max(min(x.shape[2] + left, width), begin)
    for h in range(height):
        row, to = h - top, place + h * width * pitch
        if row < 0 or row >= x.shape[1] or pitch > depth:
            clear(padded, (to, width * pitch))
        if row < 0 or row >= x.shape[1]:
            continue
        clear(padded, (to, begin * pitch))
        clear(padded, (to + end * pitch, (width - end) * pitch))
        at = ((n * x.shape[1] + row) * x.shape[2] + begin - left) * x.shape[3] + first
        if pitch == depth and depth == x.shape[3]:
            copy(flat, padded, (at, to + begin * pitch, (end - begin) * pitch))
        else:
            for w in range(end - begin):
                copy(flat, padded, (at + w * x.shape[3], to + (begin + w) * pitch, depth))


@device
def pack_gradients(dy, n, both, first, share, columns, slopes, to, step):
    """Channels [first, first + share) of images n and n + 1 in pairs, as panels ``step`` elements apart.

    Without ``both`` zeros stand for the second image.
    """
    flat, filters, size = dy.reshape(dy.size), dy.shape[3], dy.size // dy.shape[0]
    for f in range(0, share, columns):
        for p in range(size // filters):
            for j in range(0, columns, LANES):
                at, count = n * size + p * filters + first + f + j, share - f - j
                spot = to + 2 * (p * columns + j)
                interleave(flat, slopes, (at, size, spot, count, count if both else 0))
        to += step


@device
def pack_images(padded, pixels, depth, both, rows, pairs, to):
    """Two padded images in pairs, as panels of ``rows`` channels, pixel after pixel; see pack_gradients."""
    for c in range(0, depth, rows):
        for p in range(pixels):
            count = min(rows, depth - c)
            interleave(padded, pairs, (p * depth + c, pixels * depth, to, count, count if both else 0))
            to += 2 * rows


@device
def pack_elements(padded, size, both, pairs, to):
    """Two images in pairs, element after element as they lie in memory; see pack_gradients."""
    for k in range(0, size, LANES):
        interleave(padded, pairs, (k, size, to + 2 * k, size - k, size - k if both else 0))


# Products -----------------------------------------------------------------------------------------------------------


@device
def locate_rows(rows, apart):
    """Where the rows of a register tile lie that are so far apart."""
    for i in range(MAX_MR):
        rows[i] = i * apart


@device
def repeat_last(places, count):
    """Repeat the last of ``count`` places to fill its register tile."""
    for extra in range(count, count + MAX_MR):
        places[extra] = places[count - 1]


@device
def multiply_image(padded, packed, start_row, y, first, offsets, tile, sizes):
    """y[first + ...] = start_row + patches of one image times packed weights, register tile by register tile.

    ``offsets`` are those of patches, of results and of rows in ``tile``, which holds results of which some are left
    out. ``sizes``: the first element of the weights, columns, pixels, rows of a window, terms of such a row, elements
    from row to row.
    """
    begin, outputs, pixels, runs, run, jump = sizes
    patches, results, columns = offsets[0], offsets[1], panel_width(outputs)
    terms, rows = (1, 0, runs, jump, even(run) // 2, 0, 0), tile_rows(columns)
    for f in range(0, outputs, columns):
        panel, width = begin + f * runs * even(run), min(columns, outputs - f)
        for p in range(0, pixels, rows):
            if width == columns:
                at = (0, panel, first + f, f)
                multiply(columns, padded, patches[p:], packed, y, results[p:], start_row, at, terms)
                continue
            multiply(columns, padded, patches[p:], packed, tile, offsets[2], start_row, (0, panel, 0, f), terms)
            for i in range(min(rows, pixels - p)):
                copy(tile, y, (i * columns, first + f + results[p + i], width))


@device
def add_tile(a, b, total, offsets, tile, first, shape, terms):
    """Add one register tile of products to the weight gradient, ``shape`` (rows, columns, NR) of which it covers.

    ``first`` are the places in a, b and total, ``terms`` those of the micro-kernel. ``offsets`` are those of rows in
    ``tile`` and in ``total``; behind a tile's last row are zeros to start from.
    """
    height, width, columns = shape
    zeros = MAX_MR * MAX_NR
    if height == tile_rows(columns) and width == columns:
        at = (first[0], first[1], first[2], zeros)
        multiply_stepped(columns, a, offsets[1], b, total, offsets[1], tile, at, terms)
        return
    blocks, leap, runs, jump, run, step, more = terms
    apart = (blocks, leap, runs, jump, run, step, 0)
    multiply_stepped(columns, a, offsets[0], b, tile, offsets[0], tile, (first[0], first[1], 0, zeros), apart)
    for i in range(height):
        row = total[first[2] + offsets[1, i] :][:width]
        for f in range(width):
            row[f] = tile[i * columns + f] + (row[f] if more else 0.0)
