"""Dense layers on CPUs with instructions for bfloat16: the variant ``bf16`` of arrays that are stored so.

y = x W and d_x = dy W^T are one product: rows of an image each times panels of columns, which are packed chunk by chunk
of terms on the way, transposed for d_x. The weight gradient sums over pairs of images.
"""

from dataclasses import replace

from netspec.layers._cpu import dense_gemm, dense_gemv
from netspec.layers._cpu.bf16_products import (
    LANES,
    MAX_MR,
    MAX_NR,
    SLACK,
    add_tile,
    clear,
    copy,
    even,
    interleave,
    locate_rows,
    multiply,
    pack_panels,
    pack_transposed_panels,
    panel_width,
    put_rounded,
    tile_rows,
)
from netspec.layers._dense_sizes import Sizes
from netspec.plugin import Variant, Workspace, backward, device, forward

COLUMNS = 192
"""Columns of one block of the two products: whole panels of either width."""
TERMS, APART = 512, 544
"""Terms of one chunk, and elements from row to row where they are laid out: no multiple of what would put all rows into
the same sets of a cache."""
FEW = 6
"""The largest batch for which streaming the weights is faster than packing them."""
ROWS = 468
"""Rows of the weight gradient in one block: whole register tiles of either width."""


@device
def chunks_of(terms):
    """Chunks of the terms of one group."""
    return (terms + TERMS - 1) // TERMS


def _workspace(layer, t, direction):
    batch, units = t.y.shape
    depth, inputs = t.weight.size // units, t.x.size // batch
    groups = inputs // depth
    terms, outputs = (depth, units // groups) if direction == "forward" else (units // groups, depth)
    spaces = {
        "rows": Workspace((batch, groups * chunks_of(terms) * APART), t.x.dtype),
        "start_row": Workspace((groups * outputs + MAX_NR,)),
        "panels": Workspace((TERMS * (COLUMNS + MAX_NR) + SLACK,), t.x.dtype, "member"),
        "sums": Workspace(((batch + MAX_MR) * (COLUMNS + MAX_NR),), per="member"),
        "places": Workspace((2, batch + MAX_MR), "int64", "member"),
    }
    if direction == "backward":
        columns = panel_width(terms)
        spaces["slopes"] = Workspace((groups * -(-terms // columns), even(batch) * columns), t.x.dtype)
        spaces["pairs"] = Workspace(((ROWS + MAX_MR) * even(batch) + 2 * LANES,), t.x.dtype, "member")
        spaces["tile"] = Workspace(((MAX_MR + 1) * MAX_NR,), per="member")
    return spaces


def _weight_block(t):
    """Weights of one block of d_x: whole rows."""
    return COLUMNS * t.y.shape[1]


def _gradient_block(t):
    """Weights of one block of their gradient: whole rows."""
    return ROWS * t.y.shape[1]


# The two products ---------------------------------------------------------------------------------------------------


@device
def lay_rows(x, rows, images, terms, groups):
    """Lay images [first, stop) out, chunk after chunk of the terms of each group."""
    (first, stop), chunks, flat = images, chunks_of(terms), rows.reshape(rows.size)
    source = x.reshape(x.size)
    for n in range(first, stop):
        for g in range(groups):
            for chunk in range(chunks):
                count, to = min(TERMS, terms - chunk * TERMS), n * rows.shape[1] + (g * chunks + chunk) * APART
                copy(source, flat, ((n * groups + g) * terms + chunk * TERMS, to, count))
                clear(flat, (to + count, 1))


@device
def multiply_columns(rows, weights, result, group, part, sizes, start_row, scratch, flip):
    """Columns [first, stop) of a group's result: start_row + rows times weights, or with ``flip`` weights transposed.

    ``sizes``: terms, columns of one group's result and of all, units; ``scratch``: panels, sums and places.
    """
    (terms, outputs, line, units), (panels, sums, places), (first, stop) = sizes, scratch, part
    batch, chunks, columns, flat = rows.shape[0], chunks_of(terms), panel_width(outputs), rows.reshape(rows.size)
    height = tile_rows(columns)
    for n in range(batch + MAX_MR):
        places[0, n] = min(n, batch - 1) * rows.shape[1]
    locate_rows(places[1], columns)
    for chunk in range(chunks):
        begin = chunk * TERMS
        shape = (min(TERMS, terms - begin), stop - first)
        if flip:
            pack_transposed_panels(weights, first * units + group * terms + begin, units, shape, panels, 0, columns)
        else:
            pack_panels(weights, begin * units + group * outputs + first, units, shape, panels, 0, columns)
        count, source = even(shape[0]) // 2, (group * chunks + chunk) * APART
        for f in range(first, stop, columns):
            start = group * outputs + f if chunk == 0 else start_row.size - MAX_NR
            panel, base = 2 * (f - first) * count, (f - first) * (batch + MAX_MR)
            for m in range(0, batch, height):
                at, places_of_m = (source, panel, base + m * columns, start), places[0, m:]
                terms_of_m = (1, 0, 1, 0, count, 0, chunk)
                multiply(columns, flat, places_of_m, panels, sums, places[1], start_row, at, terms_of_m)
    put_columns(sums, result, (batch, first, stop, columns), line, group * outputs)


@device
def put_columns(sums, result, shape, line, origin):
    """Round the sums of columns [first, stop), which begin at ``origin`` in the result's rows of ``line`` elements."""
    batch, first, stop, columns = shape
    for f in range(first, stop, columns):
        for n in range(batch):
            base, to = (f - first) * (batch + MAX_MR) + n * columns, n * line + origin + f
            for j in range(0, min(columns, stop - f), LANES):
                put_rounded(sums, result, (base + j, to + j, stop - f - j))


@forward("cpu", over="rows", axes=0, block=16, writes="rows")
def lay_x(start, stop, x, rows, sizes: Sizes):
    lay_rows(x, rows, (start, stop), sizes.pixels * sizes.depth, sizes.groups)


@forward("cpu", over="start_row", axes=0, block=4096, writes="start_row", when={"bias": True})
def start_from_bias(start, stop, bias, start_row):
    for u in range(start, stop):
        start_row[u] = bias[u] if u < bias.size else 0.0


def _zeros(start, stop, start_row):
    start_row[start:stop] = 0


@forward("cpu", over="y", axes=1, block=COLUMNS, writes="y")
def forward_bf16(start, stop, weight, y, rows, start_row, panels, sums, places, sizes: Sizes):
    share, flat, weights = sizes.units // sizes.groups, y.reshape(y.size), weight.reshape(weight.size)
    lengths = (sizes.pixels * sizes.depth, share, sizes.units, sizes.units)
    for g in range(start // share, (stop - 1) // share + 1):
        part = (max(start - g * share, 0), min(stop - g * share, share))
        multiply_columns(rows, weights, flat, g, part, lengths, start_row, (panels, sums, places), False)


@backward("cpu", over="rows", axes=0, block=16, writes="rows")
def lay_dy(start, stop, dy, rows, sizes: Sizes):
    lay_rows(dy, rows, (start, stop), sizes.units // sizes.groups, sizes.groups)


@backward("cpu", over="weight", block=_weight_block, writes="d_x")
def d_x_bf16(start, stop, weight, d_x, rows, start_row, panels, sums, places, sizes: Sizes):
    depth, share, flat = sizes.pixels * sizes.depth, sizes.units // sizes.groups, d_x.reshape(d_x.size)
    lengths, part = (share, depth, depth * sizes.groups, sizes.units), (start // sizes.units, stop // sizes.units)
    for g in range(sizes.groups):
        multiply_columns(rows, weight, flat, g, part, lengths, start_row, (panels, sums, places), True)


# The gradient of the weights ----------------------------------------------------------------------------------------


@backward("cpu", over="slopes", axes=0, writes="slopes")
def pack_dy(start, stop, dy, slopes, sizes: Sizes):
    share, flat, source = sizes.units // sizes.groups, slopes.reshape(slopes.size), dy.reshape(dy.size)
    columns = panel_width(share)
    panels = (share + columns - 1) // columns
    for panel in range(start, stop):
        f = panel % panels * columns
        at, shape = panel // panels * share + f, (sizes.batch, min(columns, share - f))
        pack_panels(source, at, sizes.units, shape, flat, panel * slopes.shape[1], columns)


@device
def pair_images(x, pairs, rows, first, inputs, height):
    """Elements [begin, end) of a row of x, which begins at ``first``, in pairs of images, as panels of ``height``."""
    (begin, end), to, batch = rows, 0, x.size // inputs
    for k in range(begin, end, height):
        for n in range(0, batch, 2):
            count = min(height, end - k)
            interleave(x, pairs, (n * inputs + first + k, inputs, to, count, count if n + 1 < batch else 0))
            to += 2 * height


@backward("cpu", over="d_weight", block=_gradient_block, writes="d_weight")
def d_weight_bf16(start, stop, x, d_weight, slopes, pairs, tile, places, sizes: Sizes):
    units, share, depth = sizes.units, sizes.units // sizes.groups, sizes.pixels * sizes.depth
    rows, columns, flat = (start // units, stop // units), panel_width(share), slopes.reshape(slopes.size)
    height, terms, inputs = tile_rows(columns), even(sizes.batch) // 2, depth * sizes.groups
    locate_rows(places[0], columns)
    locate_rows(places[1], units)
    tile[MAX_MR * MAX_NR :] = 0
    for g in range(sizes.groups):
        pair_images(x.reshape(x.size), pairs, rows, g * depth, inputs, height)
        panel = g * ((share + columns - 1) // columns)
        for k in range(rows[0], rows[1], height):
            for f in range(0, share, columns):
                at = ((k - rows[0]) * terms, (panel + f // columns) * slopes.shape[1], k * units + g * share + f)
                shape = (min(height, rows[1] - k), min(columns, share - f), columns)
                add_tile(pairs, flat, d_weight, places, tile, at, shape, (1, 0, 1, 0, terms, height, 0))


# A few rows -----------------------------------------------------------------------------------------------------------


@forward("cpu", over="y", axes=1, block=dense_gemv.UNITS, writes=("partials", "y"), when={"bias": True})
def sum_gemv_bias(start, stop, partials, bias, y):
    for n in range(y.shape[0]):
        total = partials[0, n, start:stop]
        for block in range(1, partials.shape[0]):
            total += partials[block, n, start:stop]
        y[n, start:stop] = total + bias[start:stop]


def _supports(layer, t):
    return t.x.dtype == "bfloat16" and dense_gemm.supports(layer, t)


_BACKWARD = (
    backward("cpu", over="start_row", axes=0, block=4096, writes="start_row")(_zeros),
    lay_dy,
    d_x_bf16,
    pack_dy,
    d_weight_bf16,
    dense_gemm.d_bias_cpu,
)
_UNIT = "avx512_bf16"
_SUM = replace(dense_gemv.sum_gemv, when={"bias": False})
ZEROS = forward("cpu", over="start_row", axes=0, block=4096, writes="start_row", when={"bias": False})(_zeros)
VARIANTS = (
    Variant(
        "bf16_gemv",
        kernels=(dense_gemv.forward_gemv, sum_gemv_bias, _SUM, *_BACKWARD),
        supports=lambda layer, t: t.x.shape[0] <= FEW and _supports(layer, t),
        workspace=lambda layer, t, way: dense_gemv.VARIANT.workspace(layer, t, way) or _workspace(layer, t, way),
        capability=_UNIT,
    ),
    Variant(
        "bf16",
        kernels=(lay_x, start_from_bias, ZEROS, forward_bf16, *_BACKWARD),
        supports=_supports,
        workspace=_workspace,
        capability=_UNIT,
    ),
)
