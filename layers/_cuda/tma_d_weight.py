"""The gradient of the weights by wgmma and TMA on bfloat16, for a tile's filters: see netspec.layers._cuda.tma_pipeline.

Rows of the product are the weights of a filter, channels of one tap after another, its columns filters, its terms
positions of the window. Both operands lie along rows and columns in memory (MN-major), as they are. What TMA brings
beside a group's channels and filters is not stored.
"""

from netspec.layers._cuda.tma_pipeline import (
    ROWS,
    TERMS,
    global_address,
    int32,
    make_pipeline,
    make_ring,
    uint32,
)
from netspec.layers._cuda.tma_weight_tiles import WeightTiles, gradient_ring
from netspec.plugin import Lazy, cuda, device, quotient

uint16, uint64 = (Lazy("numpy", name) for name in ("uint16", "uint64"))
load_2d, load_im2col = (Lazy("netspec.kernels.tma", name) for name in ("load_2d", "load_im2col"))


def make_find(columns):
    """A device function: a tile's chunk, its group, its row of boxes and its first column in the group."""

    @device
    def find(tile, tiles):
        chunk = quotient(tile, tiles.per_chunk)
        rest = int32(tile - chunk * int32(tiles.per_chunk))
        group = quotient(rest, tiles.per_group)
        rest = int32(rest - group * int32(tiles.per_group))
        row = quotient(rest, tiles.column_tiles)
        return chunk, group, row, int32((rest - row * int32(tiles.column_tiles)) * columns)

    return find


def make_slabs_of(find):
    """A device function: stages of a tile, those of its chunk."""

    @device
    def slabs_of(tile, state):
        _, tiles = state
        start = int32(find(tile, tiles)[0] * int32(tiles.chunk))
        count = min(int32(int32(tiles.positions) - start), int32(tiles.chunk))
        return int32((count + TERMS - 1) // TERMS)

    return slabs_of


@device
def load_window(place, x_map, barrier, channel, position, w, h, image, tap):
    """64 positions of a convolution's window, at one tap."""
    load_im2col(place, x_map, barrier, channel, w, h, image, uint16(tap & 0xFFFF), uint16(tap >> 16))


@device
def load_rows(place, x_map, barrier, channel, position, w, h, image, tap):
    """64 rows of a matrix."""
    load_2d(place, x_map, barrier, channel, position)


def make_produce(ring, unit, find, slabs_of, load):
    """A device function that fetches a tile's stages; ``load`` brings a box of ``unit`` channels of x."""
    (open_stage, next_stage), stage_bytes, left_bytes = make_ring(ring), ring.stage, ring.left_bytes
    left_boxes, left_box, right_box = ROWS // unit, 2 * unit * TERMS, 2 * 64 * TERMS
    right_boxes = ring.right_bytes // right_box

    @device
    def find_boxes(channels, taps, group, row, tiles):
        for n in range(left_boxes):
            box = int32(left_boxes * row + n)
            tap = quotient(box, tiles.blocks)
            down = quotient(tap, tiles.size_w)
            channels[n] = int32(group * int32(tiles.depth) + (box - tap * int32(tiles.blocks)) * unit)
            taps[n] = int32((down << 16) + tap - down * int32(tiles.size_w))

    @device
    def produce(base, at, phase, tile, left_map, right_map, state):
        _, tiles = state
        channels, taps = cuda.local.array(left_boxes, int32), cuda.local.array(left_boxes, int32)
        chunk, group, row, column = find(tile, tiles)
        find_boxes(channels, taps, group, row, tiles)
        column, first = int32(column + group * int32(tiles.share)), int32(chunk * int32(tiles.chunk))
        # Divisions for each stage would take longer than its products: places are kept by additions.
        out_w, out_h = int32(tiles.out_w), int32(tiles.out_h)
        line = quotient(first, out_w)
        image, ow = quotient(line, out_h), int32(first - line * out_w)
        oh = int32(line - image * out_h)
        down = quotient(TERMS, out_w)
        right = int32(TERMS - down * out_w)
        for _ in range(slabs_of(tile, state)):
            barrier, place = open_stage(base, at, phase), uint32(base + at * stage_bytes)
            w, h = int32(ow * int32(tiles.stride_w) - tiles.pad_w), int32(oh * int32(tiles.stride_h) - tiles.pad_h)
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
def line_of(tap, channel, tiles):
    """The row of the weights that is a channel of a tap; -1 where there is none."""
    line = int32(tap * int32(tiles.depth) + channel)
    return line if channel < tiles.depth and line < tiles.rows else int32(-1)


def make_put(columns, unit, find, line_of):
    """A device function that stores a thread's sums of two rows 8 apart, as far as there are such weights.

    ``line_of(tap, channel, tiles)`` tells where they are.
    """
    boxes, store = ROWS // unit, Lazy("netspec.kernels.wgmma_sums", "store_float32", (columns,))

    @device
    def put(sums, tile, half, state):
        result, tiles = state
        chunk, group, row, column = find(tile, tiles)
        thread = int32(cuda.threadIdx.x % 128)
        own = int32(half * 64 + thread // 32 * 16 + thread % 32 // 4)
        box = int32(boxes * row + own // unit)
        tap = quotient(box, tiles.blocks)
        channel = int32((box - tap * int32(tiles.blocks)) * unit + own % unit)
        first, second = line_of(tap, channel, tiles), line_of(tap, int32(channel + 8), tiles)
        place = global_address(result) + uint64(group * int32(tiles.share) + column + thread % 4 * 2) * uint64(4)
        pitch, lines = uint64(tiles.filters) * uint64(4), uint64(chunk) * uint64(tiles.rows)
        upper, lower = place + (lines + uint64(first)) * pitch, place + (lines + uint64(second)) * pitch
        store(upper, lower, sums, first >= 0, second >= 0, int32(tiles.share - column))

    return put


def make_gradient(tile, load, line_of):
    """A device function ``gradient(x_map, dy_map, result, tiles)``."""
    ring, find = gradient_ring(tile), make_find(tile.columns)
    slabs_of, put = make_slabs_of(find), make_put(tile.columns, tile.unit, find, line_of)
    pipeline = make_pipeline(ring, make_produce(ring, tile.unit, find, slabs_of, load), slabs_of, put)

    @device
    def gradient(x_map, dy_map, result, tiles):
        pipeline(x_map, dy_map, int32(tiles.tiles), (result, tiles))

    return gradient


def make_d_weight_chunk(tile):
    """The kernel of a convolution's gradient, of chunks of positions apart."""
    gradient = make_gradient(tile, load_window, line_of)

    def d_weight_chunk(x, dy, x_map, dy_map, partials, weight_tiles: WeightTiles):
        gradient(x_map, dy_map, partials, weight_tiles)

    return d_weight_chunk


def make_d_weight(tile):
    """The kernel of a dense layer's gradient, of all the batch at once."""
    gradient = make_gradient(tile, load_rows, line_of)

    def d_weight(x, dy, x_map, dy_map, d_weight, weight_tiles: WeightTiles):
        gradient(x_map, dy_map, d_weight, weight_tiles)

    return d_weight
