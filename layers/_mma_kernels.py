"""Convolution on tensor cores: forward, and the gradients with respect to image and weights, for a precision and tile.

A block finds its tile of the result by ``blockIdx.x``, tiles that share rows side by side, and its group, place between
strides or chunk of the batch by ``blockIdx.y``.
"""

from netspec.layers._mma_copies import (
    LINES,
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
from netspec.layers._mma_tile import TERMS, THREADS, WARPS, make_product, make_rows, make_spread
from netspec.plugin import cuda, device, epilogue

ALIGNMENT = 16
"""Bytes; what 128-bit accesses to shared memory need."""


@device
def slabs_of(walk, rows):
    """Slabs of so many rows of a window."""
    return (rows * walk[4] * walk[1] + TERMS - 1) // TERMS


@device
def bias_of(bias, f, share, group):
    """A filter's bias; any number where there is no such filter."""
    return bias[group * share + f] if f < share else 0.0


def make_forward(precision, tile):
    """Kernels ``y = epilogue(product + bias)`` and ``y = epilogue(product)``."""
    copy_windows, copy_weights = make_copy_windows(tile.rows, 1), make_copy_weights(tile.columns)
    height, width, right_at = tile.rows, tile.columns, tile.rows * TERMS
    size, lines, half_height = tile.stages * tile.stage, 3 * tile.rows // LINES, tile.rows // WARPS

    @device
    def fill(shared, at, slab, state):
        x, weight, places, column, group, image, walk, columns = state
        copy_windows(shared, at, slab, x, places, walk[7], walk[4], image, walk)
        copy_weights(shared, at + right_at, slab, weight, column, group, walk, columns)

    product, spread = make_product(tile, precision, "lines", "terms", fill), make_spread(tile, "lines")
    place_of, items, four_sums = make_rows(tile)

    def forward(x, weight, bias, y, image, walk, positions, columns):
        shared = cuda.shared.array(size, x.dtype, alignment=ALIGNMENT)
        places = cuda.local.array(lines, int32)
        share, pitch, wide = columns
        group, across = cuda.blockIdx.y, (share + width - 1) // width
        first, first_filter = cuda.blockIdx.x // across * height, cuda.blockIdx.x % across * width
        find_windows(places, height, first, group, image, positions)
        state = (x, weight, places, first_filter, group, image, walk, columns)
        sums = product(shared, slabs_of(walk, walk[7]), state)
        for half in range(WARPS):
            spread(shared, half, sums)
            for item in range(cuda.threadIdx.x, items(half, positions[0] - first), THREADS):
                row, column = place_of(item)
                position, f = first + half * half_height + row, first_filter + column
                if f < share:
                    a, b, c, d = four_sums(shared, row, column)
                    a, b = a + bias_of(bias, f, share, group), b + bias_of(bias, f + 1, share, group)
                    c, d = c + bias_of(bias, f + 2, share, group), d + bias_of(bias, f + 3, share, group)
                    a, b, c, d = epilogue(a), epilogue(b), epilogue(c), epilogue(d)
                    put_four(y, position * pitch + group * share + f, share - f, wide, a, b, c, d)

    def forward_unbiased(x, weight, y, image, walk, positions, columns):
        shared = cuda.shared.array(size, x.dtype, alignment=ALIGNMENT)
        places = cuda.local.array(lines, int32)
        share, pitch, wide = columns
        group, across = cuda.blockIdx.y, (share + width - 1) // width
        first, first_filter = cuda.blockIdx.x // across * height, cuda.blockIdx.x % across * width
        find_windows(places, height, first, group, image, positions)
        state = (x, weight, places, first_filter, group, image, walk, columns)
        sums = product(shared, slabs_of(walk, walk[7]), state)
        for half in range(WARPS):
            spread(shared, half, sums)
            for item in range(cuda.threadIdx.x, items(half, positions[0] - first), THREADS):
                row, column = place_of(item)
                position, f = first + half * half_height + row, first_filter + column
                if f < share:
                    a, b, c, d = four_sums(shared, row, column)
                    a, b, c, d = epilogue(a), epilogue(b), epilogue(c), epilogue(d)
                    put_four(y, position * pitch + group * share + f, share - f, wide, a, b, c, d)

    return forward, forward_unbiased


def make_d_x(precision, tile):
    """The kernel of the gradient with respect to the image.

    Pixels that lie alike between strides are in windows by the same taps: they are rows of one product, whose terms
    are those taps of all filters. So no product is with a zero that a stride has left.
    """
    copy_windows, copy_flipped = make_copy_windows(tile.rows, -1), make_copy_flipped(tile.columns)
    rows, width, right_at = tile.rows, tile.columns, tile.rows * TERMS
    size, lines, half_rows = tile.stages * tile.stage, 3 * tile.rows // LINES, tile.rows // WARPS

    @device
    def fill(shared, at, slab, state):
        dy, weight, places, column, group, taps, limits, image, walk, columns, classes, depth = state
        copy_windows(shared, at, slab, dy, places, limits[0], limits[1], image, walk)
        copy_flipped(shared, at + right_at, slab, weight, column, group, taps, classes, walk, columns, depth)

    product, spread = make_product(tile, precision, "lines", "lines", fill), make_spread(tile, "lines")
    place_of, items, four_sums = make_rows(tile)

    @device
    def pixel_of(position, taps, back_positions, classes):
        stride_h, stride_w, residue_h, residue_w, _size_h, _size_w, height, width, _groups = classes
        per_image, image_f, image_s, per_row, row_f, row_s = back_positions[1:7]
        n = divide(position, image_f, image_s)
        rest = position - n * per_image
        a = divide(rest, row_f, row_s)
        h, w = a * stride_h + taps[0] - residue_h, (rest - a * per_row) * stride_w + taps[1] - residue_w
        inside = h >= 0 and h < height and w >= 0 and w < width
        return (n * height + h) * width + w if inside else -1

    def d_x(weight, dy, d_x, back_image, back_walk, back_positions, back_columns, columns, classes):
        shared = cuda.shared.array(size, dy.dtype, alignment=ALIGNMENT)
        places = cuda.local.array(lines, int32)
        stride_h, stride_w, _residue_h, _residue_w, size_h, size_w, _, _, groups = classes
        depth, channels, wide = back_columns
        group, place, across = cuda.blockIdx.y % groups, cuda.blockIdx.y // groups, (depth + width - 1) // width
        first, first_channel = cuda.blockIdx.x // across * rows, cuda.blockIdx.x % across * width
        taps = (place // stride_w, place % stride_w)
        limits = ((size_h - taps[0] + stride_h - 1) // stride_h, (size_w - taps[1] + stride_w - 1) // stride_w)
        find_windows(places, rows, first, group, back_image, back_positions)
        state = (
            dy, weight, places, first_channel, group, taps, limits, back_image, back_walk, columns, classes, depth
        )  # fmt: skip
        sums = product(shared, slabs_of(back_walk, limits[0]), state)
        for half in range(WARPS):
            spread(shared, half, sums)
            for item in range(cuda.threadIdx.x, items(half, back_positions[0] - first), THREADS):
                row, column = place_of(item)
                pixel = pixel_of(first + half * half_rows + row, taps, back_positions, classes)
                c = first_channel + column
                if pixel >= 0 and c < depth:
                    values = four_sums(shared, row, column)
                    index = pixel * channels + group * depth + c
                    put_four(d_x, index, depth - c, wide, values[0], values[1], values[2], values[3])

    return d_x


def make_d_weight(precision, tile):
    """Kernels of the gradient with respect to the weights, for chunks of the batch and for a batch that is one."""
    copy_pixels, copy_gradients = make_copy_pixels(tile.rows), make_copy_gradients(tile.columns)
    rows, width, right_at, fours = tile.rows, tile.columns, tile.rows * TERMS, tile.rows // 4
    size, half_rows = tile.stages * tile.stage, tile.rows // WARPS

    @device
    def fill(shared, at, slab, state):
        x, dy, run, column, group, start, end, image, walk, positions, columns = state
        pixel = start + slab * TERMS
        copy_pixels(shared, at, pixel, end, x, run, group, image, walk, positions)
        copy_gradients(shared, at + right_at, pixel, end, dy, column, group, columns)

    product, spread = make_product(tile, precision, "terms", "terms", fill), make_spread(tile, "terms")
    place_of, items, four_sums = make_rows(tile)

    @device
    def gradient(shared, x, dy, result, chunk, pixels, group, image, walk, positions, columns):
        share, pitch, wide = columns
        length, padded, padded_f, padded_s, per_row, _row_f, _row_s, rows_of_window = walk
        across = (share + width - 1) // width
        first, first_filter = cuda.blockIdx.x // across * rows, cuda.blockIdx.x % across * width
        start = chunk * pixels
        end = min(start + pixels, positions[0])
        run = find_run(first + cuda.threadIdx.x % fours * 4, walk)
        state = (x, dy, run, first_filter, group, start, end, image, walk, positions, columns)
        sums = product(shared, (end - start + TERMS - 1) // TERMS, state)
        for half in range(WARPS):
            spread(shared, half, sums)
            for item in range(cuda.threadIdx.x, items(half, rows_of_window * per_row * padded - first), THREADS):
                row, column = place_of(item)
                term, f = first + half * half_rows + row, first_filter + column
                number = divide(term, padded_f, padded_s)
                place = term - number * padded
                if place < length and f < share:
                    values = four_sums(shared, row, column)
                    line = (chunk * rows_of_window * per_row + number) * length + place
                    index = line * pitch + group * share + f
                    put_four(result, index, share - f, wide, values[0], values[1], values[2], values[3])

    def d_weight_chunk(x, dy, partials, image, walk, positions, columns, pixels_at_once, classes):
        shared = cuda.shared.array(size, x.dtype, alignment=ALIGNMENT)
        groups = classes[8]
        chunk, group = cuda.blockIdx.y // groups, cuda.blockIdx.y % groups
        gradient(shared, x, dy, partials, chunk, pixels_at_once, group, image, walk, positions, columns)

    def d_weight(x, dy, d_weight, image, walk, positions, columns):
        shared = cuda.shared.array(size, x.dtype, alignment=ALIGNMENT)
        gradient(shared, x, dy, d_weight, 0, positions[0], cuda.blockIdx.y, image, walk, positions, columns)

    return d_weight_chunk, d_weight
