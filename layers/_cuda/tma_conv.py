"""Convolution by wgmma and TMA on bfloat16: forward and the gradient of the image, for a tile's columns.

Rows of a product are positions, whose windows TMA's im2col mode brings as they lie: 128 positions from any one on, at
one tap, and 64 channels. The gradient of the image is the same over dy, with taps from the other end; pixels of one
stride class are in windows by the same taps, see netspec.layers._cuda.mma_kernels. Weights are read as they lie,
(taps, channels, filters), for either. Channels beyond a group's are zeros in the weights' boxes.
"""

from typing import NamedTuple

from netspec.layers._cuda.implicit_gemm import Classes
from netspec.layers._cuda.mma_block_tile import tiles
from netspec.layers._cuda.mma_operand_copies import below
from netspec.layers._cuda.tma_pipeline import (
    BOX,
    ROWS,
    TERMS,
    int32,
    make_pipeline,
    make_ring,
    make_spread_four,
    right_along_columns,
    right_along_terms,
    row_of,
    uint32,
)
from netspec.plugin import (
    Im2col,
    Lazy,
    TensorMap,
    backward_epilogue,
    device,
    finish,
    load4,
    put_others,
    quotient,
    store4,
)

uint16 = Lazy("numpy", "uint16")
load_3d, load_4d, load_im2col = (Lazy("netspec.kernels.tma", name) for name in ("load_3d", "load_4d", "load_im2col"))


class Product(NamedTuple):
    """A product for each group and stride class: rows, columns, elements from row to row of the result, groups, and
    channels of a tap, which ``blocks`` of 64 cover."""

    rows: int
    share: int
    pitch: int
    groups: int
    depth: int
    blocks: int


class Windows(NamedTuple):
    """The rows of a product: positions of an image and of a row, pixels from one to the next and before the first one;
    the window's size, and stride classes along both axes, which have every n-th tap."""

    per_image: int
    per_row: int
    step_h: int
    step_w: int
    lead_h: int
    lead_w: int
    size_h: int
    size_w: int
    classes_h: int
    classes_w: int


def product_of(g, backward=False):
    """The product's sizes; ``g`` is a Geometry."""
    if backward:
        return Product(g.batch * g.cells[0] * g.cells[1], g.depth, g.channels, g.groups, g.share, tiles(g.share, TERMS))
    return Product(g.positions, g.share, g.filters, g.groups, g.depth, tiles(g.depth, TERMS))


def windows_of(g, backward=False):
    """The windows over x, or over dy those of a pixel."""
    if backward:
        lead = (taps - 1 - pad // step for taps, pad, step in zip(g.taps, g.pad, g.stride, strict=True))
        return Windows(g.cells[0] * g.cells[1], g.cells[1], 1, 1, *lead, *g.size, *g.stride)
    return Windows(g.out[0] * g.out[1], g.out[1], *g.stride, *g.pad, *g.size, 1, 1)


def corners(g, backward=False):
    """Lower and upper corners of the windows' map, as (width, height)."""
    windows = windows_of(g, backward)
    count, image = (g.cells, g.out) if backward else (g.out, g.image)
    lower = -windows.lead_w, -windows.lead_h
    steps = windows.step_w, windows.step_h
    upper = tuple((count[1 - axis] - 1) * steps[axis] + lower[axis] - (image[1 - axis] - 1) for axis in range(2))
    return lower, upper


def windows_map(name, g, backward=False):
    """The map of x, or of dy for the gradient of the image: 128 positions of 64 channels."""
    (height, width), channels = (g.out, g.filters) if backward else (g.image, g.channels)
    steps = windows_of(g, backward)
    dims, (lower, upper) = (channels, width, height, g.batch), corners(g, backward)
    strides = 2 * channels, 2 * channels * width, 2 * channels * width * height
    return TensorMap(name, dims, strides, im2col=Im2col(lower, upper, (steps.step_w, steps.step_h), TERMS, ROWS))


def weight_map(g):
    """Forward: 64 channels of 64 filters of a tap, along the filters."""
    dims = g.filters, g.depth, g.size[0] * g.size[1]
    return TensorMap("weight", dims, (2 * g.filters, 2 * g.filters * g.depth), (BOX, TERMS, 1))


def back_weight_map(g, columns):
    """For the gradient: 64 filters of a group of so many channels of a tap."""
    dims = g.share, g.groups, g.depth, g.size[0] * g.size[1]
    strides = 2 * g.share, 2 * g.filters, 2 * g.filters * g.depth
    return TensorMap("weight", dims, strides, (TERMS, 1, columns, 1))


@device
def find_tile(tile, product, columns):
    """Stride class, first row, group and first column of it, of tiles with so many columns."""
    across = int32((product.share + columns - 1) // columns)
    row_tiles = int32((product.rows + ROWS - 1) // ROWS)
    line = quotient(tile, across)
    column = int32((tile - line * across) * columns)
    whole = quotient(line, product.groups)
    number = quotient(whole, row_tiles)
    return number, int32((whole - number * row_tiles) * ROWS), int32(line - whole * product.groups), column


@device
def tiles_of(product, windows, columns):
    """All tiles."""
    row_tiles = int32((product.rows + ROWS - 1) // ROWS) * windows.classes_h * windows.classes_w
    return int32(row_tiles * product.groups * int32((product.share + columns - 1) // columns))


@device
def taps_of(number, windows):
    """First tap of a stride class, along both axes, and how many it has."""
    tap_h = quotient(number, windows.classes_w)
    tap_w = int32(number - tap_h * windows.classes_w)
    count_h = quotient(windows.size_h - tap_h + windows.classes_h - 1, windows.classes_h)
    count_w = quotient(windows.size_w - tap_w + windows.classes_w - 1, windows.classes_w)
    return tap_h, tap_w, count_h, count_w


@device
def pixel_of(row, windows):
    """Image, and row and column of the first tap of the window that is this row of the product."""
    n = quotient(row, windows.per_image)
    rest = int32(row - n * windows.per_image)
    h = quotient(rest, windows.per_row)
    w = int32(rest - h * windows.per_row)
    return n, int32(h * windows.step_h - windows.lead_h), int32(w * windows.step_w - windows.lead_w)


def make_stages_of(columns):
    """A device function for the stages of a tile."""

    @device
    def stages_of(tile, state):
        product, windows = state[0], state[1]
        _, _, count_h, count_w = taps_of(find_tile(tile, product, columns)[0], windows)
        return int32(count_h * count_w * product.blocks)

    return stages_of


@device
def tap_forward(i, j, first, counts, windows):
    """The weights' tap for that one of a window over x."""
    return int32(i * windows.size_w + j)


@device
def tap_backward(i, j, first, counts, windows):
    """The weights' tap for that one of a stride class's windows over dy: from the last one on."""
    down = int32(first[0] + (counts[0] - 1 - i) * windows.classes_h)
    return int32(down * windows.size_w + first[1] + (counts[1] - 1 - j) * windows.classes_w)


def make_produce(ring, tap_at, load_weights):
    """A device function that fetches a tile's stages, channels of one tap after another.

    ``load_weights(place, map, barrier, group, c, tap, column, product)`` fetches a stage's weights, of channels from
    ``c`` on.
    """
    (open_stage, next_stage), stage_bytes, left_bytes = make_ring(ring), ring.stage, ring.left_bytes
    columns = ring.columns

    @device
    def produce(base, at, phase, tile, left_map, right_map, state):
        product, windows = state[0], state[1]
        number, row, group, column = find_tile(tile, product, columns)
        tap_h, tap_w, count_h, count_w = taps_of(number, windows)
        n, h, w = pixel_of(row, windows)
        # A class's taps are the last ones of the windows over dy, so that one map serves all classes.
        skip_h = int32(quotient(windows.size_h + windows.classes_h - 1, windows.classes_h) - count_h)
        skip_w = int32(quotient(windows.size_w + windows.classes_w - 1, windows.classes_w) - count_w)
        first, depth = int32(group * product.depth), int32(product.depth)
        for i in range(count_h):
            for j in range(count_w):
                tap = tap_at(i, j, (tap_h, tap_w), (count_h, count_w), windows)
                for c in range(0, depth, TERMS):
                    barrier, place = open_stage(base, at, phase), uint32(base + at * stage_bytes)
                    across, down = uint16(skip_w + j), uint16(skip_h + i)
                    load_im2col(place, left_map, barrier, int32(first + c), w, h, n, across, down)
                    load_weights(place + left_bytes, right_map, barrier, group, int32(c), tap, column, product)
                    at, phase = next_stage(at, phase)
        return at, phase

    return produce


@device
def four_biases(bias, f):
    """Biases of four filters."""
    return load4(bias, f)


@device
def no_biases(bias, f):
    """Zeros in their place."""
    return 0.0, 0.0, 0.0, 0.0


def make_convolve(columns, biases):
    """A device function ``convolve(x_map, weight_map, y, bias, operands, product, windows)``: y's tiles of a block."""
    ring, boxes = right_along_columns(columns), tiles(columns, BOX)

    @device
    def load_weights(place, weight_map, barrier, group, c, tap, column, product):
        first = int32(group * product.share + column)
        for box in range(boxes):
            load_3d(place + box * (2 * BOX * TERMS), weight_map, barrier, int32(first + box * BOX), c, tap)

    @device
    def ready(column, a, b, c, d, state):
        _, bias, first, index, operands = state
        p, q, r, s = biases(bias, first + column)
        return finish(a + p, b + q, c + r, d + s, max(index, 0) + column, int32(4), True, operands)

    @device
    def store(column, values, state):
        y, _, _, index, operands = state
        if index >= 0:
            store4(y, index + column, values[0], values[1], values[2], values[3])
            put_others(values, index + column, int32(4), True, operands)

    spread = make_spread_four(columns, ready, store)

    @device
    def put(sums, tile, half, state):
        product, _, y, bias, operands = state
        _, row, group, column = find_tile(tile, product, columns)
        row, first = int32(row + row_of(half)), int32(group * product.share)
        index = int32(row * product.pitch + first) if row < product.rows else int32(-1)
        spread(sums, column, product.share, (y, bias, first, index, operands))

    produce = make_produce(ring, tap_forward, load_weights)
    pipeline = make_pipeline(ring, produce, make_stages_of(columns), put)

    @device
    def convolve(x_map, weight_map, y, bias, operands, product, windows):
        pipeline(x_map, weight_map, tiles_of(product, windows, columns), (product, windows, y, bias, operands))

    return convolve


def make_forward(columns):
    """Kernels ``y = finish(product + bias)`` and ``y = finish(product)``."""
    biased, plain = make_convolve(columns, four_biases), make_convolve(columns, no_biases)

    def forward(x_map, weight_map, x, weight, bias, y, product: Product, windows: Windows, *operands):
        biased(x_map, weight_map, y, bias, operands, product, windows)

    def forward_unbiased(x_map, weight_map, x, weight, y, product: Product, windows: Windows, *operands):
        plain(x_map, weight_map, y, y, operands, product, windows)

    return forward, forward_unbiased


@device
def pixel_at(row, number, product, windows, classes):
    """The pixel of the image that is a row of a stride class's product; -1 where there is none."""
    n = quotient(row, windows.per_image)
    rest = int32(row - n * windows.per_image)
    a = quotient(rest, windows.per_row)
    tap_h = quotient(number, windows.classes_w)
    h = int32(a * windows.classes_h + tap_h - classes.residue_h)
    tap_w = int32(number - tap_h * windows.classes_w)
    w = int32((rest - a * windows.per_row) * windows.classes_w + tap_w - classes.residue_w)
    inside = row < product.rows and below(h, classes.height) and below(w, classes.width)
    return int32((n * classes.height + h) * classes.width + w) if inside else int32(-1)


def make_d_x(columns):
    """The kernel of the gradient with respect to the image, whose pixels it stores through ``backward_epilogue``."""
    ring = right_along_terms(columns)

    @device
    def load_weights(place, weight_map, barrier, group, f, tap, column, product):
        load_4d(place, weight_map, barrier, f, group, column, tap)

    @device
    def ready(column, a, b, c, d, state):
        _, residual, first, _ = state
        return backward_epilogue(a, b, c, d, residual, int32(first + column), int32(4), True)

    @device
    def store(column, values, state):
        d_x, _, first, inside = state
        if inside:
            store4(d_x, int32(first + column), values[0], values[1], values[2], values[3])

    spread = make_spread_four(columns, ready, store)

    @device
    def put(sums, tile, half, state):
        product, windows, d_x, residual, classes = state
        number, row, group, column = find_tile(tile, product, columns)
        pixel = pixel_at(int32(row + row_of(half)), number, product, windows, classes)
        first = int32(max(pixel, 0) * product.pitch + group * product.share)
        spread(sums, column, product.share, (d_x, residual, first, pixel >= 0))

    produce = make_produce(ring, tap_backward, load_weights)
    pipeline = make_pipeline(ring, produce, make_stages_of(columns), put)

    def d_x(
        dy_map, weight_map, weight, dy, d_x, residual, back_product: Product, back_windows: Windows, classes: Classes
    ):  # fmt: skip
        count = tiles_of(back_product, back_windows, columns)
        pipeline(dy_map, weight_map, count, (back_product, back_windows, d_x, residual, classes))

    return d_x
