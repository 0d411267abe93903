"""The gradient of the weights by wgmma and TMA on bfloat16, for a tile's filters (netspec.layers._cuda.tma_pipeline).

Rows of the product are the weights of a filter, channels of one tap after another, its columns filters, its terms
positions of the window. Both operands lie along rows and columns in memory (MN-major), as they are. What TMA brings
beside a group's channels and filters is not stored.
"""

from netspec.layers._cuda.tma_pipeline import (
    ROWS,
    TERMS,
    arrive,
    global_address,
    half_of,
    int32,
    make_pipeline,
    make_ring,
    uint32,
    wait,
)
from netspec.layers._cuda.tma_weight_tiles import WeightSizes, bias_parts, gradient_ring
from netspec.plugin import Lazy, cuda, device, quotient

uint16, uint64 = (Lazy("numpy", name) for name in ("uint16", "uint64"))
sync_warpgroups = Lazy("netspec.kernels.mbarriers", "sync_warpgroups")
load_2d, load_im2col = (Lazy("netspec.kernels.tma", name) for name in ("load_2d", "load_im2col"))


def make_cut(columns, unit):
    """A device function that cuts a result into tiles: those of a chunk and of a group, those side by side, stages of a
    chunk, and chunks, as many as the result has room for."""
    boxes = ROWS // unit

    @device
    def cut_into_tiles(result, sizes):
        parts = int32(sizes.size_h * sizes.size_w * int32((sizes.depth + unit - 1) // unit))
        across = int32((sizes.share + columns - 1) // columns)
        of_group = int32(int32((parts + boxes - 1) // boxes) * across)
        chunks = quotient(result.size, sizes.rows * sizes.filters)
        stages = quotient(int32((sizes.positions + TERMS - 1) // TERMS) + chunks - 1, chunks)
        return int32(of_group * sizes.groups), of_group, across, stages, chunks

    return cut_into_tiles


def make_find(columns):
    """A device function: a tile's chunk, its group, its row of boxes and its first column in the group."""

    @device
    def find(tile, cut):
        of_chunk, of_group, across, _, _ = cut
        chunk = quotient(tile, of_chunk)
        rest = int32(tile - chunk * of_chunk)
        group = quotient(rest, of_group)
        rest = int32(rest - group * of_group)
        row = quotient(rest, across)
        return chunk, group, row, int32((rest - row * across) * columns)

    return find


@device
def stages_of(tile, state):
    """Stages of a tile, those of its chunk."""
    sizes, cut = state[1], state[2]
    left = int32((sizes.positions + TERMS - 1) // TERMS - quotient(tile, cut[0]) * cut[3])
    return min(left, cut[3])


@device
def load_window(place, x_map, barrier, channel, position, w, h, image, tap):
    """64 positions of a convolution's window, at one tap."""
    load_im2col(place, x_map, barrier, channel, w, h, image, uint16(tap & 0xFFFF), uint16(tap >> 16))


@device
def load_rows(place, x_map, barrier, channel, position, w, h, image, tap):
    """64 rows of a matrix."""
    load_2d(place, x_map, barrier, channel, position)


def make_produce(ring, unit, find, load):
    """A device function that fetches a tile's stages; ``load`` brings a box of ``unit`` channels of x."""
    (open_stage, next_stage), stage_bytes, left_bytes = make_ring(ring), ring.stage, ring.left_bytes
    left_boxes, left_box, right_box = ROWS // unit, 2 * unit * TERMS, 2 * 64 * TERMS
    right_boxes = ring.right_bytes // right_box

    @device
    def find_boxes(channels, taps, group, row, sizes):
        blocks, size_w = int32((sizes.depth + unit - 1) // unit), int32(sizes.size_w)
        for n in range(left_boxes):
            box = int32(left_boxes * row + n)
            tap = quotient(box, blocks)
            down = quotient(tap, size_w)
            channels[n] = int32(group * int32(sizes.depth) + (box - tap * blocks) * unit)
            taps[n] = int32((down << 16) + tap - down * size_w)

    @device
    def produce(base, at, phase, tile, left_map, right_map, state):
        _, sizes, cut, _, _ = state
        channels, taps = cuda.local.array(left_boxes, int32), cuda.local.array(left_boxes, int32)
        chunk, group, row, column = find(tile, cut)
        find_boxes(channels, taps, group, row, sizes)
        column, first = int32(column + group * int32(sizes.share)), int32(chunk * cut[3] * TERMS)
        # Divisions for each stage would take longer than its products: places are kept by additions.
        out_w, out_h = int32(sizes.out_w), int32(sizes.out_h)
        line = quotient(first, out_w)
        image, ow = quotient(line, out_h), int32(first - line * out_w)
        oh = int32(line - image * out_h)
        down = quotient(TERMS, out_w)
        right = int32(TERMS - down * out_w)
        for _ in range(stages_of(tile, state)):
            barrier, place = open_stage(base, at, phase), uint32(base + at * stage_bytes)
            w, h = int32(ow * int32(sizes.stride_w) - sizes.pad_w), int32(oh * int32(sizes.stride_h) - sizes.pad_h)
            for n in range(left_boxes):
                load(uint32(place + n * left_box), left_map, barrier, channels[n], first, w, h, image, taps[n])
            for n in range(right_boxes):
                load_2d(uint32(place + left_bytes + n * right_box), right_map, barrier, int32(column + 64 * n), first)
            first, ow, oh = int32(first + TERMS), int32(ow + right), int32(oh + down)
            if ow >= out_w:
                ow, oh = int32(ow - out_w), int32(oh + 1)
            while oh >= out_h:
                oh, image = int32(oh - out_h), int32(image + 1)
            at, phase = next_stage(at, phase)
        return at, phase

    return produce


@device
def line_of(tap, channel, sizes, cells):
    """The row of the weights that is a channel of a tap; -1 where there is none."""
    line = int32(tap * int32(sizes.depth) + channel)
    return line if channel < sizes.depth and line < sizes.rows else int32(-1)


def make_put(columns, unit, find, line_of):
    """A device function that stores a thread's sums of two rows 8 apart, as far as there are such weights.

    ``line_of(tap, channel, sizes, cells)`` tells where they are.
    """
    boxes, store = ROWS // unit, Lazy("netspec.kernels.wgmma_sums", "store_float32", (columns,))

    @device
    def put(sums, tile, half, state):
        result, sizes, cut, cells, _ = state
        chunk, group, row, column = find(tile, cut)
        thread, blocks = int32(cuda.threadIdx.x % 128), int32((sizes.depth + unit - 1) // unit)
        own = int32(half * 64 + thread // 32 * 16 + thread % 32 // 4)
        box = int32(boxes * row + own // unit)
        tap = quotient(box, blocks)
        channel = int32((box - tap * blocks) * unit + own % unit)
        first, second = line_of(tap, channel, sizes, cells), line_of(tap, int32(channel + 8), sizes, cells)
        place = global_address(result) + uint64(group * int32(sizes.share) + column + thread % 4 * 2) * uint64(4)
        pitch, lines = uint64(sizes.filters) * uint64(4), uint64(chunk) * uint64(sizes.rows)
        upper, lower = place + (lines + uint64(first)) * pitch, place + (lines + uint64(second)) * pitch
        store(upper, lower, sums, first >= 0, second >= 0, int32(sizes.share - column))

    return put


def make_compute(ring, find, put):
    """A device function for a consumer's work on a tile, as tma_pipeline.make_tile makes it, beside which the tiles of
    a chunk's first row sum up dy: that is the bias's gradient.

    Threads side by side have two filters each, ``parts`` of them the same two and other positions.
    """
    columns, stages, stage, left_bytes = ring.columns, ring.stages, ring.stage, ring.left_bytes
    half_bytes = half_of(ring)
    full, empty, next_stage = stages * stage, stages * (stage + 8), make_ring(ring)[1]
    pairs, parts = columns // 2, bias_parts(columns)
    lines, box = TERMS // parts, 2 * 64 * TERMS
    multiply = Lazy("netspec.kernels.wgmma_products", "multiply", (columns, ring.left, ring.right))
    zeros = Lazy("netspec.kernels.warp_tiles", "zeros", (columns // 2,))
    finish = Lazy("netspec.kernels.warpgroup", "wait", (1, columns))
    settle = Lazy("netspec.kernels.wgmma_products", "settle", (1,))
    add_lines = Lazy("netspec.kernels.wgmma_sums", "add_lines", (lines,))

    @device
    def own_part(half):
        """A thread's part of the positions, and its pair of filters."""
        thread = int32(128 * half + cuda.threadIdx.x % 128)
        return int32(thread // pairs), int32(thread % pairs)

    @device
    def put_bias(a, b, tile, half, state):
        _, sizes, cut, _, biases = state
        chunk, group, _, column = find(tile, cut)
        part, pair = own_part(half)
        f = int32(column + 2 * pair)
        if part < parts and f < sizes.share:
            index = int32((chunk * parts + part) * int32(sizes.filters) + group * int32(sizes.share) + f)
            biases[index], biases[index + 1] = a, b

    @device
    def compute(base, half, tile, at, phase, state):
        part, pair = own_part(half)
        own = uint32(left_bytes + pair // 32 * box + part * lines * 128 + pair % 32 * 4)
        is_first = find(tile, state[2])[2] == 0
        sums, leads, before, a, b = zeros(), cuda.threadIdx.x % 128 == 0, at, 0.0, 0.0
        for number in range(stages_of(tile, state)):
            wait(base + full + at * 8, phase)
            place = uint32(base + at * stage)
            sums = multiply(place + half * half_bytes, place + left_bytes, sums, number)
            if is_first:
                if part < parts:
                    a, b = add_lines(place + own, a, b)
                sync_warpgroups(uint32(half + 1), 128)  # who leads tells for all that they have read
            settle()
            if leads and number > 0:
                arrive(base + empty + before * 8)
            before = at
            at, phase = next_stage(at, phase)
        sums = finish(sums)
        if leads:
            arrive(base + empty + before * 8)
        put(sums, tile, half, state)
        if is_first:
            put_bias(a, b, tile, half, state)
        return at, phase

    return compute


def make_gradient(tile, load, line_of, has_bias):
    """A device function ``gradient(x_map, dy_map, result, sizes, cells, biases)``; ``cells`` is for ``line_of``."""
    columns, unit, ring = tile.columns, tile.unit, gradient_ring(tile)
    find, cut_into_tiles = make_find(columns), make_cut(columns, unit)
    produce, put = make_produce(ring, unit, find, load), make_put(columns, unit, find, line_of)
    pipeline = make_pipeline(ring, produce, stages_of, put, make_compute(ring, find, put) if has_bias else None)

    @device
    def gradient(x_map, dy_map, result, sizes, cells, biases):
        cut = cut_into_tiles(result, sizes)
        pipeline(x_map, dy_map, int32(cut[0] * cut[4]), (result, sizes, cut, cells, biases))

    return gradient


def make_d_weight_chunk(tile):
    """Kernels of a convolution's gradient, of chunks of positions apart: with that of the bias, and without."""
    both, alone = (make_gradient(tile, load_window, line_of, has_bias) for has_bias in (True, False))

    def d_weight_chunk(x, dy, x_map, dy_map, partials, bias_partials, weight_sizes: WeightSizes):
        both(x_map, dy_map, partials, weight_sizes, weight_sizes, bias_partials)

    def d_weight_chunk_unbiased(x, dy, x_map, dy_map, partials, weight_sizes: WeightSizes):
        alone(x_map, dy_map, partials, weight_sizes, weight_sizes, partials)

    return d_weight_chunk, d_weight_chunk_unbiased


def make_d_weight(tile):
    """Kernels of a dense layer's gradient, of all the batch at once: with that of the bias, and without."""
    both, alone = (make_gradient(tile, load_rows, line_of, has_bias) for has_bias in (True, False))

    def d_weight(x, dy, x_map, dy_map, d_weight, bias_partials, weight_sizes: WeightSizes):
        both(x_map, dy_map, d_weight, weight_sizes, weight_sizes, bias_partials)

    def d_weight_unbiased(x, dy, x_map, dy_map, d_weight, weight_sizes: WeightSizes):
        alone(x_map, dy_map, d_weight, weight_sizes, weight_sizes, d_weight)

    return d_weight, d_weight_unbiased
