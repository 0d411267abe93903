"""Convolution on tensor cores: forward, and the gradients with respect to image and weights, for a precision and tile.

A block finds its tile of the result by ``blockIdx.x``, tiles that share rows side by side, and its group, stride class
or chunk of the batch by ``blockIdx.y``.
"""

from netspec.layers._cuda.implicit_gemm import FLOAT4, Classes, Columns, Image, Positions, Runs
from netspec.layers._cuda.mma_block_tile import BLOCK_K
from netspec.layers._cuda.mma_operand_copies import (
    FLOAT4S,
    below,
    divide,
    find_run,
    find_windows,
    int32,
    make_copy_flipped,
    make_copy_gradients,
    make_copy_pixels,
    make_copy_weights,
    make_copy_windows,
    put_four,
)
from netspec.plugin import backward_epilogue, cuda, device, finish, load4, put_others, quotient

ALIGNMENT = 1024
"""Bytes; what Hopper's matrix instruction needs of shared memory. 128-bit accesses need 16."""


@device
def stages_of(runs, rows, terms):
    """Stages of so many rows of a window, of so many terms each."""
    return int32((rows * runs.per_row * runs.padded + terms - 1) // terms)


@device
def tile_at(share, rows, width):
    """First row and first column of this block's tile, of tiles that cover ``share`` columns."""
    across = int32((share + width - 1) // width)
    tile = quotient(cuda.blockIdx.x, across)
    return int32(tile * rows), int32((cuda.blockIdx.x - tile * across) * width)


@device
def bias_of(bias, f, share, group):
    """A filter's bias; any number where there is no such filter."""
    return bias[group * share + f] if f < share else 0.0


@device
def four_biases(bias, f, share, group):
    """Biases of four filters."""
    a, b = bias_of(bias, f, share, group), bias_of(bias, int32(f + 1), share, group)
    return a, b, bias_of(bias, int32(f + 2), share, group), bias_of(bias, int32(f + 3), share, group)


@device
def no_biases(bias, f, share, group):
    """Zeros in their place."""
    return 0.0, 0.0, 0.0, 0.0


def make_write(tile, order, right, put):
    """Device functions ``place()``, a thread's first row and column, and ``write``, which stores a block's sums.

    ``write(shared, sums, place, rows, inside, state)`` calls ``put(row, shared, at, state)`` for four neighbouring sums
    at a time of each of the tile's first ``rows`` rows, if its columns are ``inside``: they lie in shared memory from
    ``at`` on.
    """
    spread, (place, count_of), pitch = tile.spread(order, right), tile.row_functions(), tile.pitch(order)
    at_once, parts, height = tile.threads // (tile.columns // 4), tile.parts, tile.rows // tile.parts

    @device
    def write(shared, sums, place, rows, inside, state):
        start, column = place
        for part in range(parts):
            spread(shared, part, sums)
            count = count_of(part, rows) if inside else int32(0)
            for row in range(start, count, at_once):
                put(part * height + row, shared, int32(row * pitch + column), state)

    return place, write


def make_forward(precision, tile):
    """Kernels ``y = finish(product + bias)`` and ``y = finish(product)``."""
    size, lines = tile.stages * tile.stage, 3 * tile.rows // (tile.threads // FLOAT4S)
    copy_weights = make_copy_weights(tile)
    biased, plain = (make_convolve(precision, tile, copy_weights, "terms", one) for one in (four_biases, no_biases))

    def forward(x, weight, bias, y, image: Image, runs: Runs, positions: Positions, columns: Columns, *operands):
        shared = cuda.shared.array(size, x.dtype, alignment=ALIGNMENT)
        places = cuda.local.array(lines, int32)
        biased(shared, places, x, weight, bias, y, image, runs, positions, columns, columns, operands)

    def forward_unbiased(x, weight, y, image: Image, runs: Runs, positions: Positions, columns: Columns, *operands):
        shared = cuda.shared.array(size, x.dtype, alignment=ALIGNMENT)
        places = cuda.local.array(lines, int32)
        plain(shared, places, x, weight, weight, y, image, runs, positions, columns, columns, operands)

    return forward, forward_unbiased


def make_convolve(precision, tile, copy_weights, order, biases):
    """A device function for a block's tile of y; ``copy_weights`` brings weights in that order.

    Its ``packing`` tells that function how they lie in memory.
    """
    copy_windows, terms = make_copy_windows(tile, 1), tile.terms
    height, width, right_at, apart = tile.rows, tile.columns, tile.rows * BLOCK_K, tile.threads // FLOAT4S

    @device
    def fill(shared, at, stage, state):
        x, weight, places, column, group, image, runs, packing = state
        copy_windows(shared, at, stage, x, places, runs.rows, runs.per_row, image, runs)
        copy_weights(shared, int32(at + right_at), stage, weight, column, group, runs, packing)

    @device
    def put(row, shared, at, state):
        y, first, f, group, (a0, b0, c0, d0), columns, operands = state
        a, b, c, d = load4(shared, at)
        index = int32((first + row) * columns.pitch + group * columns.share + f)
        count, aligned = int32(columns.share - f), int32(columns.alignment) == FLOAT4
        values = finish(a + a0, b + b0, c + c0, d + d0, index, count, aligned, operands)
        put_four(y, index, count, columns.alignment, values[0], values[1], values[2], values[3])
        put_others(values, index, count, aligned, operands)

    main_loop, (place, write) = tile.main_loop(precision, "lines", order, fill), make_write(tile, "lines", order, put)

    @device
    def convolve(shared, places, x, weight, bias, y, image, runs, positions, columns, packing, operands):
        group = int32(cuda.blockIdx.y)
        first, first_filter = tile_at(columns.share, height, width)
        find_windows(places, height, apart, first, group, (int32(0), int32(0)), image, positions)
        state = (x, weight, places, first_filter, group, image, runs, packing)
        sums = main_loop(shared, stages_of(runs, runs.rows, terms), state)
        own = place()
        f = int32(first_filter + own[1])
        row_of_biases = biases(bias, f, columns.share, group)
        state = (y, first, f, group, row_of_biases, columns, operands)
        write(shared, sums, own, positions.count - first, f < columns.share, state)

    return convolve


@device
def taps_of(residue, stride, dilation, step, size):
    """The first of the taps by which pixels of a class lie in windows along an axis, how many these are, and how far
    the window of the first one lies off that of an undilated window."""
    tap = int32(0)
    while tap < step and (tap * dilation - residue) % stride != 0:
        tap = int32(tap + 1)
    limit = quotient(max(size - tap + step - 1, 0), step) if tap < step else int32(0)
    return tap, limit, int32((residue - tap * dilation) // stride)


@device
def undilated_taps_of(residue, stride, dilation, step, size):
    """The same of windows without dilation: fewer numbers stay in registers through the main loop."""
    return residue, quotient(size - residue + stride - 1, stride), int32(0)


def make_d_x(precision, tile, dilated=True):
    """The kernel of the gradient with respect to the image; ``dilated``: whether it takes dilated windows too.

    Pixels of one stride class are in windows by the same taps: they are rows of one product, whose terms are those taps
    of all filters. So no product is with a zero that a stride has left.
    """
    copy_windows, copy_flipped, terms = make_copy_windows(tile, -1), make_copy_flipped(tile), tile.terms
    first_taps = taps_of if dilated else undilated_taps_of
    height, width, right_at, apart = tile.rows, tile.columns, tile.rows * BLOCK_K, tile.threads // FLOAT4S
    size, lines = tile.stages * tile.stage, 3 * tile.rows // apart

    @device
    def fill(shared, at, stage, state):
        dy, weight, places, column, group, taps, limits, image, runs, columns, classes, depth = state
        copy_windows(shared, at, stage, dy, places, limits[0], limits[1], image, runs)
        copy_flipped(shared, int32(at + right_at), stage, weight, column, group, taps, classes, runs, columns, depth)

    @device
    def pixel_of(position, taps, positions, classes):
        """The pixel of a row of the product; -1 where the image has none."""
        n = divide(position, positions.per_image_factor, positions.per_image_shift)
        rest = int32(position - n * positions.per_image)
        a = divide(rest, positions.per_row_factor, positions.per_row_shift)
        h = int32(a * classes.stride_h + taps[0] - classes.residue_h)
        w = int32((rest - a * positions.per_row) * classes.stride_w + taps[1] - classes.residue_w)
        inside = below(h, classes.height) & below(w, classes.width)
        return int32((n * classes.height + h) * classes.width + w) if inside else int32(-1)

    @device
    def put(row, shared, at, state):
        d_x, residual, first, c, group, taps, positions, columns, classes = state
        pixel = pixel_of(int32(first + row), taps, positions, classes)
        if pixel >= 0:
            e, f, g, h = load4(shared, at)
            index = int32(pixel * columns.pitch + group * columns.share + c)
            count, aligned = int32(columns.share - c), int32(columns.alignment) == FLOAT4
            e, f, g, h = backward_epilogue(e, f, g, h, residual, index, count, aligned)
            put_four(d_x, index, count, columns.alignment, e, f, g, h)

    main_loop = tile.main_loop(precision, "lines", "lines", fill)
    place, write = make_write(tile, "lines", "lines", put)

    def d_x(
        weight, dy, d_x, residual, back_image: Image, back_runs: Runs, back_positions: Positions, back_columns: Columns,
        columns: Columns, classes: Classes,
    ):  # fmt: skip
        shared = cuda.shared.array(size, dy.dtype, alignment=ALIGNMENT)
        places = cuda.local.array(lines, int32)
        number = quotient(cuda.blockIdx.y, classes.groups)
        group = int32(cuda.blockIdx.y - number * classes.groups)
        first, first_channel = tile_at(back_columns.share, height, width)
        tap_h = quotient(number, classes.stride_w)
        own_class = tap_h, int32(number - tap_h * classes.stride_w)
        tap_h, limit_h, shift_h = first_taps(
            own_class[0], classes.stride_h, classes.dilation_h, classes.step_h, classes.size_h
        )
        tap_w, limit_w, shift_w = first_taps(
            own_class[1], classes.stride_w, classes.dilation_w, classes.step_w, classes.size_w
        )
        shift = shift_h, shift_w
        find_windows(places, height, apart, first, group, shift, back_image, back_positions)
        state = (
            dy, weight, places, first_channel, group, (tap_h, tap_w), (limit_h, limit_w), back_image, back_runs,
            columns, classes, back_columns.share,
        )  # fmt: skip
        sums = main_loop(shared, stages_of(back_runs, limit_h, terms), state)
        own = place()
        c = int32(first_channel + own[1])
        state = (d_x, residual, first, c, group, own_class, back_positions, back_columns, classes)
        write(shared, sums, own, back_positions.count - first, c < back_columns.share, state)

    return d_x


def make_d_weight(precision, tile):
    """Kernels of the gradient with respect to the weights, for chunks of the batch and for a batch that is one."""
    copy_pixels, copy_gradients = make_copy_pixels(tile), make_copy_gradients(tile)
    height, width, right_at, unit, terms = tile.rows, tile.columns, tile.rows * BLOCK_K, tile.unit, tile.terms
    size, units = tile.stages * tile.stage, tile.rows // tile.unit

    @device
    def fill(shared, at, stage, state):
        x, dy, run, column, group, start, end, image, runs, positions, columns = state
        pixel = int32(start + stage * terms)
        copy_pixels(shared, at, pixel, end, x, run, group, image, runs, positions)
        copy_gradients(shared, int32(at + right_at), pixel, end, dy, column, group, columns)

    @device
    def put(row, shared, at, state):
        result, chunk, first, f, group, runs, columns = state
        term = int32(first + row)
        number = divide(term, runs.padded_factor, runs.padded_shift)
        place = int32(term - number * runs.padded)
        if place < runs.length:
            a, b, c, d = load4(shared, at)
            line = int32((chunk * runs.rows * runs.per_row + number) * runs.length + place)
            index = line * columns.pitch + group * columns.share + f
            put_four(result, index, int32(columns.share - f), columns.alignment, a, b, c, d)

    main_loop = tile.main_loop(precision, "terms", "terms", fill)
    place, write = make_write(tile, "terms", "terms", put)

    @device
    def gradient(shared, x, dy, result, chunk, pixels, group, image, runs, positions, columns):
        first, first_filter = tile_at(columns.share, height, width)
        start = int32(chunk * pixels)
        end = int32(min(start + pixels, positions.count))
        run = find_run(int32(first + cuda.threadIdx.x % units * unit), runs)
        state = (x, dy, run, first_filter, group, start, end, image, runs, positions, columns)
        sums = main_loop(shared, int32((end - start + terms - 1) // terms), state)
        own = place()
        f = int32(first_filter + own[1])
        rows = runs.rows * runs.per_row * runs.padded - first
        write(shared, sums, own, rows, f < columns.share, (result, chunk, first, f, group, runs, columns))

    def d_weight_chunk(
        x, dy, partials, image: Image, runs: Runs, positions: Positions, columns: Columns, pixels_at_once,
        classes: Classes,
    ):  # fmt: skip
        shared = cuda.shared.array(size, x.dtype, alignment=ALIGNMENT)
        chunk = quotient(cuda.blockIdx.y, classes.groups)
        group = int32(cuda.blockIdx.y - chunk * classes.groups)
        gradient(shared, x, dy, partials, chunk, pixels_at_once, group, image, runs, positions, columns)

    def d_weight(x, dy, d_weight, image: Image, runs: Runs, positions: Positions, columns: Columns):
        shared = cuda.shared.array(size, x.dtype, alignment=ALIGNMENT)
        group = int32(cuda.blockIdx.y)
        gradient(shared, x, dy, d_weight, int32(0), positions.count, group, image, runs, positions, columns)

    return d_weight_chunk, d_weight
