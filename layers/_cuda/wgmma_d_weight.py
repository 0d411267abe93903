"""The gradient of the weights by Hopper's matrix instruction, whose operands the tensor memory accelerator brings.

Rows of the product (M) are the weights of a filter, channels of one tap after another, its columns (N) filters, its
terms (K) positions of the window. Both operands lie along rows and columns in memory (MN-major), as the instruction
takes them of 16 bits. One warp of three warpgroups brings them, 64 positions (a slab) at a time: boxes of ``unit``
channels of one tap, and of 64 filters. Where channels fill no box, it brings what lies behind them: those rows are not
stored. The other two warpgroups multiply 64 rows each.

Positions are cut into chunks, whose sums are summed in turn, so that there is work for the whole GPU. Blocks are
persistent: while the sums of a tile are stored, the operands of the next one come.
"""

from netspec.layers._cuda.wgmma_weight_tiles import BOX, ROWS, SLAB, WeightTiles
from netspec.plugin import Lazy, cuda, device, quotient

int32, uint32, uint64, uint16, uint8 = (Lazy("numpy", name) for name in ("int32", "uint32", "uint64", "uint16", "uint8"))
_mbarriers, _tma = (Lazy(f"netspec.kernels.{name}") for name in ("mbarriers", "tma"))
_TURNED = 1


def make_d_weight(tile, windows):
    """Kernels of the gradient with respect to the weights: of chunks, and of one.

    ``windows``: x is read by windows of a convolution, else as the rows of a matrix.
    """
    unit, line, columns = tile.unit, 2 * tile.unit, tile.columns
    left = (line, 8 * line, SLAB * line, _TURNED, tuple(range(0, SLAB * line, 16 * line)))
    right = (128, 1024, BOX, _TURNED, tuple(range(0, BOX, 2048)))
    multiply = Lazy("netspec.kernels.wgmma", "multiply", (columns, left, right))
    zeros, finish = (Lazy("netspec.kernels.wgmma", name, (columns,)) for name in ("zeros", "finish"))
    settle, store = Lazy("netspec.kernels.wgmma", "settle", (1,)), Lazy("netspec.kernels.wgmma_sums", "store_float32", (columns,))
    give, take = Lazy("netspec.kernels.mbarriers", "give_registers", (40,)), Lazy("netspec.kernels.mbarriers", "take_registers", (232,))
    stages, stage, left_boxes, right_boxes = tile.stages, tile.stage, ROWS // unit, tile.boxes
    left_box, right_at, last, bars = SLAB * line, ROWS * SLAB * 2, tile.stages - 1, tile.stages * tile.stage
    half, right_box = 64 * SLAB * 2, BOX

    @device
    def load_window(place, x_map, bar, channel, first, w, h, image, tap):
        _tma.load_im2col(place, x_map, bar, channel, w, h, image, uint16(tap & 0xFFFF), uint16(tap >> 16))

    @device
    def load_rows(place, x_map, bar, channel, first, w, h, image, tap):
        _tma.load_2d(place, x_map, bar, channel, first)

    load = load_window if windows else load_rows

    @device
    def find(item, tiles):
        """A tile's chunk, its group, its row of boxes and its first column in the group."""
        chunk = quotient(item, tiles.per_chunk)
        rest = int32(item - chunk * int32(tiles.per_chunk))
        group = quotient(rest, tiles.per_group)
        rest = int32(rest - group * int32(tiles.per_group))
        row = quotient(rest, tiles.column_tiles)
        return chunk, group, row, int32((rest - row * int32(tiles.column_tiles)) * columns)

    @device
    def slabs_of(chunk, tiles):
        """Slabs of a chunk."""
        left = int32(int32(tiles.positions) - chunk * int32(tiles.chunk))
        return int32((min(left, int32(tiles.chunk)) + SLAB - 1) // SLAB)

    @device
    def produce(base, x_map, dy_map, tiles):
        """Bring the slabs of this block's tiles, one thread alone."""
        full, empty = uint32(base + uint32(bars)), uint32(base + uint32(bars + 8 * stages))
        channels, taps = cuda.local.array(left_boxes, int32), cuda.local.array(left_boxes, int32)
        at, phase = uint32(0), uint32(1)
        out_w, out_h = int32(tiles.out_w), int32(tiles.out_h)
        stride_w, stride_h, pad_w, pad_h = int32(tiles.stride_w), int32(tiles.stride_h), int32(tiles.pad_w), int32(tiles.pad_h)
        down = quotient(SLAB, out_w)
        right = int32(SLAB - down * out_w)
        item = int32(cuda.blockIdx.x)
        while item < int32(tiles.tiles):
            chunk, group, row, column = find(item, tiles)
            for n in range(left_boxes):
                part = int32(left_boxes * row + n)
                tap = quotient(part, tiles.blocks)
                tap_h = quotient(tap, tiles.size_w)
                channels[n] = int32(group * int32(tiles.depth) + (part - tap * int32(tiles.blocks)) * unit)
                taps[n] = int32((tap_h << 16) + tap - tap_h * int32(tiles.size_w))
            first = int32(chunk * int32(tiles.chunk))
            column = int32(column + group * int32(tiles.share))
            oh = quotient(first, out_w)
            image, ow = quotient(oh, out_h), int32(first - oh * out_w)
            oh = int32(oh - image * out_h)
            for _ in range(slabs_of(chunk, tiles)):
                _mbarriers.wait(uint32(empty + at * uint32(8)), phase)
                bar, place = uint32(full + at * uint32(8)), uint32(base + at * uint32(stage))
                _mbarriers.expect(bar, uint32(stage))
                w, h = int32(ow * stride_w - pad_w), int32(oh * stride_h - pad_h)
                for n in range(left_boxes):
                    load(uint32(place + uint32(n * left_box)), x_map, bar, channels[n], first, w, h, image, taps[n])
                for n in range(right_boxes):
                    target = uint32(place + uint32(right_at + n * right_box))
                    _tma.load_2d(target, dy_map, bar, int32(column + 64 * n), first)
                first, ow, oh = int32(first + SLAB), int32(ow + right), int32(oh + down)
                if ow >= out_w:
                    ow, oh = int32(ow - out_w), int32(oh + 1)
                while oh >= out_h:
                    oh, image = int32(oh - out_h), int32(image + 1)
                phase = uint32(phase ^ uint32(1)) if at == uint32(last) else phase
                at = uint32(0) if at == uint32(last) else uint32(at + uint32(1))
            item = int32(item + int32(cuda.gridDim.x))

    @device
    def term_of(row, box, tiles):
        """The tap and channel of a tile's row."""
        part = int32(left_boxes * box + row // unit)
        tap = quotient(part, tiles.blocks)
        return tap, int32((part - tap * int32(tiles.blocks)) * unit + row % unit)

    @device
    def write(result, sums, chunk, group, row, column, own, tiles):
        """Store a thread's sums, as far as there are such weights."""
        thread = int32(cuda.threadIdx.x % 128)
        tap, channel = term_of(int32(own * 64 + thread // 32 * 16 + thread % 32 // 4), row, tiles)
        depth, filters = int32(tiles.depth), int32(tiles.filters)
        inside = tap * depth < int32(tiles.rows)
        first = uint32(1) if inside & (channel < depth) else uint32(0)
        second = uint32(1) if inside & (channel + 8 < depth) else uint32(0)
        line = uint64(chunk) * uint64(tiles.rows) + uint64(tap * depth + channel)
        f = int32(group * int32(tiles.share) + column + thread % 4 * 2)
        place = _mbarriers.global_address(result) + (line * uint64(filters) + uint64(f)) * uint64(4)
        store(place, uint64(32) * uint64(filters), sums, first, second, int32(int32(tiles.share) - column))

    @device
    def consume(base, result, own, tiles):
        """Multiply 64 rows of this block's tiles."""
        full, empty = uint32(base + uint32(bars)), uint32(base + uint32(bars + 8 * stages))
        leads = cuda.threadIdx.x % 128 == 0
        mine = uint32(uint32(own) * uint32(half))
        at, phase = uint32(0), uint32(0)
        item = int32(cuda.blockIdx.x)
        while item < int32(tiles.tiles):
            chunk, group, row, column = find(item, tiles)
            sums, before = zeros(), at
            for slab in range(slabs_of(chunk, tiles)):
                _mbarriers.wait(uint32(full + at * uint32(8)), phase)
                place = uint32(base + at * uint32(stage))
                sums = multiply(uint32(place + mine), uint32(place + uint32(right_at)), sums, uint32(slab))
                settle()
                if leads & (slab > 0):
                    _mbarriers.arrive(uint32(empty + before * uint32(8)))
                before = at
                phase = uint32(phase ^ uint32(1)) if at == uint32(last) else phase
                at = uint32(0) if at == uint32(last) else uint32(at + uint32(1))
            sums = finish(sums)
            if leads:
                _mbarriers.arrive(uint32(empty + before * uint32(8)))
            write(result, sums, chunk, group, row, column, own, tiles)
            item = int32(item + int32(cuda.gridDim.x))

    @device
    def gradient(x_map, dy_map, result, tiles):
        shared = cuda.shared.array(0, uint8, alignment=1024)
        base = _mbarriers.shared_address(shared)
        x_at, dy_at = _mbarriers.global_address(x_map), _mbarriers.global_address(dy_map)
        group = _mbarriers.of_warp(int32(cuda.threadIdx.x // 128))
        if cuda.threadIdx.x == 0:
            _tma.acquire(x_at)
            _tma.acquire(dy_at)
            for n in range(stages):
                _mbarriers.init(uint32(base + uint32(bars + 8 * n)), uint32(1))
                _mbarriers.init(uint32(base + uint32(bars + 8 * (stages + n))), uint32(2))
            _mbarriers.fence_init()
        cuda.syncthreads()
        if group == 0:
            give()
            if cuda.threadIdx.x < 32:
                if _mbarriers.elected() != 0:
                    produce(base, x_at, dy_at, tiles)
        else:
            take()
            consume(base, result, int32(group - 1), tiles)

    def d_weight_chunk(x, dy, x_map, dy_map, partials, weight_tiles: WeightTiles):
        gradient(x_map, dy_map, partials, weight_tiles)

    def d_weight(x, dy, x_map, dy_map, d_weight, weight_tiles: WeightTiles):
        gradient(x_map, dy_map, d_weight, weight_tiles)

    return d_weight_chunk, d_weight
