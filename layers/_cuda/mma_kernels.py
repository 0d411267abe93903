"""Convolution on tensor cores: forward, and the gradients with respect to image and weights, for a precision and tile.

A block finds its tile of the result by ``blockIdx.x``, tiles that share rows side by side, and its group, place between
strides or chunk of the batch by ``blockIdx.y``.
"""

from netspec.layers._cuda.mma_block_tile import TERMS
from netspec.layers._cuda.mma_operand_copies import (
    FOURS,
    WHOLE,
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
from netspec.plugin import backward_epilogue, cuda, device, epilogue, quotient

ALIGNMENT = 1024
"""Bytes; what Hopper's matrix instruction needs of shared memory. 128-bit accesses need 16."""


@device
def slabs_of(walk, rows):
    """Slabs of so many rows of a window."""
    return int32((rows * walk[4] * walk[1] + TERMS - 1) // TERMS)


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


def make_forward(precision, tile):
    """Kernels ``y = epilogue(product + bias)`` and ``y = epilogue(product)``."""
    size, lines = tile.stages * tile.stage, 3 * tile.rows // (tile.threads // FOURS)
    copy_weights = make_copy_weights(tile.columns, tile.threads)
    biased, plain = (make_convolve(precision, tile, copy_weights, "terms", one) for one in (four_biases, no_biases))

    def forward(x, weight, bias, y, image, walk, positions, columns):
        shared = cuda.shared.array(size, x.dtype, alignment=ALIGNMENT)
        places = cuda.local.array(lines, int32)
        biased(shared, places, x, weight, bias, y, image, walk, positions, columns, columns)

    def forward_unbiased(x, weight, y, image, walk, positions, columns):
        shared = cuda.shared.array(size, x.dtype, alignment=ALIGNMENT)
        places = cuda.local.array(lines, int32)
        plain(shared, places, x, weight, weight, y, image, walk, positions, columns, columns)

    return forward, forward_unbiased


def make_convolve(precision, tile, copy_weights, order, biases):
    """A device function for a block's tile of y; ``copy_weights`` brings weights in that order.

    Its ``packing`` tells that function how they lie in memory.
    """
    copy_windows = make_copy_windows(tile.rows, 1, tile.copy, tile.threads)
    height, width, right_at, part_height = tile.rows, tile.columns, tile.rows * TERMS, tile.rows // tile.down
    at_once, parts, apart = tile.threads // (tile.columns // 4), tile.down, tile.threads // FOURS

    @device
    def fill(shared, at, slab, state):
        x, weight, places, column, group, image, walk, packing = state
        copy_windows(shared, at, slab, x, places, walk[7], walk[4], image, walk)
        copy_weights(shared, int32(at + right_at), slab, weight, column, group, walk, packing)

    product, spread = tile.product(precision, "lines", order, fill), tile.spread("lines")
    place_of, count_of, four_sums = tile.row_functions("lines")

    @device
    def convolve(shared, places, x, weight, bias, y, image, walk, positions, columns, packing):
        share, pitch, wide = columns
        group = int32(cuda.blockIdx.y)
        first, first_filter = tile_at(share, height, width)
        find_windows(places, height, apart, first, group, image, positions)
        state = (x, weight, places, first_filter, group, image, walk, packing)
        sums = product(shared, slabs_of(walk, walk[7]), state)
        start, column = place_of()
        f = int32(first_filter + column)
        a0, b0, c0, d0 = biases(bias, f, share, group)
        for part in range(parts):
            spread(shared, part, sums)
            count = count_of(part, positions[0] - first) if f < share else int32(0)
            for row in range(start, count, at_once):
                a, b, c, d = four_sums(shared, row, column)
                a, b, c, d = epilogue(a + a0), epilogue(b + b0), epilogue(c + c0), epilogue(d + d0)
                index = int32((first + part * part_height + row) * pitch + group * share + f)
                put_four(y, index, int32(share - f), wide, a, b, c, d)

    return convolve


def make_d_x(precision, tile):
    """The kernel of the gradient with respect to the image.

    Pixels that lie alike between strides are in windows by the same taps: they are rows of one product, whose terms
    are those taps of all filters. So no product is with a zero that a stride has left.
    """
    copy_windows = make_copy_windows(tile.rows, -1, tile.copy, tile.threads)
    copy_flipped = make_copy_flipped(tile.columns, tile.threads)
    rows, width, right_at = tile.rows, tile.columns, tile.rows * TERMS
    at_once, parts, apart = tile.threads // (tile.columns // 4), tile.down, tile.threads // FOURS
    size, lines, part_rows = tile.stages * tile.stage, 3 * tile.rows // apart, tile.rows // tile.down

    @device
    def fill(shared, at, slab, state):
        dy, weight, places, column, group, taps, limits, image, walk, columns, classes, depth = state
        copy_windows(shared, at, slab, dy, places, limits[0], limits[1], image, walk)
        copy_flipped(shared, int32(at + right_at), slab, weight, column, group, taps, classes, walk, columns, depth)

    product, spread = tile.product(precision, "lines", "lines", fill), tile.spread("lines")
    place_of, count_of, four_sums = tile.row_functions("lines")

    @device
    def pixel_of(position, taps, back_positions, classes):
        """The pixel of a row of the product; -1 where the image has none."""
        stride_h, stride_w, residue_h, residue_w, _size_h, _size_w, height, width, _groups = classes
        _count, per_image, image_f, image_s, per_row, row_f, row_s, _, _, _, _ = back_positions
        n = divide(position, image_f, image_s)
        rest = int32(position - n * per_image)
        a = divide(rest, row_f, row_s)
        h = int32(a * stride_h + taps[0] - residue_h)
        w = int32((rest - a * per_row) * stride_w + taps[1] - residue_w)
        return int32((n * height + h) * width + w) if below(h, height) & below(w, width) else int32(-1)

    def d_x(weight, dy, d_x, beside, back_image, back_walk, back_positions, back_columns, columns, classes):
        shared = cuda.shared.array(size, dy.dtype, alignment=ALIGNMENT)
        places = cuda.local.array(lines, int32)
        stride_h, stride_w, _residue_h, _residue_w, size_h, size_w, _, _, groups = classes
        depth, channels, wide = back_columns
        place = quotient(cuda.blockIdx.y, groups)
        group = int32(cuda.blockIdx.y - place * groups)
        first, first_channel = tile_at(depth, rows, width)
        tap_h = quotient(place, stride_w)
        tap_w = int32(place - tap_h * stride_w)
        limit_h = quotient(size_h - tap_h + stride_h - 1, stride_h)
        limit_w = quotient(size_w - tap_w + stride_w - 1, stride_w)
        find_windows(places, rows, apart, first, group, back_image, back_positions)
        state = (
            dy, weight, places, first_channel, group, (tap_h, tap_w), (limit_h, limit_w),
            back_image, back_walk, columns, classes, depth,
        )  # fmt: skip
        sums = product(shared, slabs_of(back_walk, limit_h), state)
        start, column = place_of()
        c = int32(first_channel + column)
        for part in range(parts):
            spread(shared, part, sums)
            count = count_of(part, back_positions[0] - first) if c < depth else int32(0)
            for row in range(start, count, at_once):
                pixel = pixel_of(int32(first + part * part_rows + row), (tap_h, tap_w), back_positions, classes)
                if pixel >= 0:
                    e, f, g, h = four_sums(shared, row, column)
                    index, count = int32(pixel * channels + group * depth + c), int32(depth - c)
                    aligned = int32(wide) == WHOLE
                    e, f, g, h = backward_epilogue(e, f, g, h, beside, index, count, aligned)
                    put_four(d_x, index, count, wide, e, f, g, h)

    return d_x


def make_d_weight(precision, tile):
    """Kernels of the gradient with respect to the weights, for chunks of the batch and for a batch that is one."""
    copy_pixels = make_copy_pixels(tile.rows, tile.threads)
    copy_gradients = make_copy_gradients(tile.columns, tile.threads)
    rows, width, right_at, fours = tile.rows, tile.columns, tile.rows * TERMS, tile.rows // 4
    size, part_rows, parts = tile.stages * tile.stage, tile.rows // tile.down, tile.down
    at_once = tile.threads // (tile.columns // 4)

    @device
    def fill(shared, at, slab, state):
        x, dy, run, column, group, start, end, image, walk, positions, columns = state
        pixel = int32(start + slab * TERMS)
        copy_pixels(shared, at, pixel, end, x, run, group, image, walk, positions)
        copy_gradients(shared, int32(at + right_at), pixel, end, dy, column, group, columns)

    product, spread = tile.product(precision, "terms", "terms", fill), tile.spread("terms")
    place_of, count_of, four_sums = tile.row_functions("terms")

    @device
    def gradient(shared, x, dy, result, chunk, pixels, group, image, walk, positions, columns):
        share, pitch, wide = columns
        length, padded, padded_f, padded_s, per_row, _row_f, _row_s, rows_of_window = walk
        first, first_filter = tile_at(share, rows, width)
        start_pixel = int32(chunk * pixels)
        end = int32(min(start_pixel + pixels, positions[0]))
        run = find_run(int32(first + cuda.threadIdx.x % fours * 4), walk)
        state = (x, dy, run, first_filter, group, start_pixel, end, image, walk, positions, columns)
        sums = product(shared, int32((end - start_pixel + TERMS - 1) // TERMS), state)
        start, column = place_of()
        f = int32(first_filter + column)
        for part in range(parts):
            spread(shared, part, sums)
            count = count_of(part, rows_of_window * per_row * padded - first) if f < share else int32(0)
            for row in range(start, count, at_once):
                term = int32(first + part * part_rows + row)
                number = divide(term, padded_f, padded_s)
                place = int32(term - number * padded)
                if place < length:
                    values = four_sums(shared, row, column)
                    line = int32((chunk * rows_of_window * per_row + number) * length + place)
                    index = line * pitch + group * share + f
                    put_four(result, index, int32(share - f), wide, values[0], values[1], values[2], values[3])

    def d_weight_chunk(x, dy, partials, image, walk, positions, columns, pixels_at_once, classes):
        shared = cuda.shared.array(size, x.dtype, alignment=ALIGNMENT)
        groups = classes[8]
        chunk = quotient(cuda.blockIdx.y, groups)
        group = int32(cuda.blockIdx.y - chunk * groups)
        gradient(shared, x, dy, partials, chunk, pixels_at_once, group, image, walk, positions, columns)

    def d_weight(x, dy, d_weight, image, walk, positions, columns):
        shared = cuda.shared.array(size, x.dtype, alignment=ALIGNMENT)
        group = int32(cuda.blockIdx.y)
        gradient(shared, x, dy, d_weight, int32(0), positions[0], group, image, walk, positions, columns)

    return d_weight_chunk, d_weight
