"""What convolutions by Hopper's matrix instruction have of their own: weights laid out so that it can read them.

It takes both operands in lines along the terms of the sums. Windows and gradients lie so in memory, and so do weights
for the gradient of the image; for the forward pass they are transposed first, and rounded to tf32 on the way.
"""

from netspec.layers._cuda.mma_block_tile import TERMS, THREADS, line_at, tiles
from netspec.layers._cuda.mma_kernels import ALIGNMENT, four_biases, make_convolve, no_biases
from netspec.layers._cuda.mma_operand_copies import FOURS, LINES, divide, int32
from netspec.layers._cuda.wgmma_block_tile import TILES
from netspec.plugin import Lazy, cp_async16, cuda, device, store4

rounded = Lazy("netspec.kernels.warpgroup", "rounded")


def packing(geometry):
    """Lines of a group's transposed weights, a filter each, and terms of a line: enough for whole tiles and slabs."""
    lines = max(tiles(geometry.share, tile.columns) * tile.columns for tile in TILES)
    return lines, tiles(geometry.patch, TERMS) * TERMS


def pack_grid(t):
    """Blocks of ``pack_wgmma``, which each have a thread for four terms of a filter."""
    lines, terms = packing(t.geometry)
    return tiles(lines * terms // 4, THREADS), t.geometry.groups


def pack_wgmma(weight, packed, walk, columns, packing):
    """Transposed weights; zeros where there is no filter or no term."""
    length, padded, padded_f, padded_s, per_row, _row_f, _row_s, rows = walk
    share, pitch, _wide = columns
    lines, terms = packing
    item, group = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x), int32(cuda.blockIdx.y)
    four = int32(item // lines)  # threads side by side have filters side by side, as they lie in memory
    f, term = int32(item - four * lines), int32(4 * four)
    if term < terms:
        run = divide(term, padded_f, padded_s)
        place = int32(term - run * padded)
        count = int32(length - place) if run < rows * per_row and f < share else int32(0)
        index = (run * length + place) * pitch + group * share + f
        a = rounded(weight[index]) if count > 0 else 0.0
        b = rounded(weight[index + pitch]) if count > 1 else 0.0
        c = rounded(weight[index + 2 * pitch]) if count > 2 else 0.0
        d = rounded(weight[index + 3 * pitch]) if count > 3 else 0.0
        store4(packed, (group * lines + f) * terms + term, a, b, c, d)


def make_copy_packed(columns):
    """Copies 16 terms of the transposed weights of so many filters, in lines."""

    @device
    def copy_packed(shared, at, slab, packed, column, group, walk, packing):
        lines, terms = packing
        line, four = int32(cuda.threadIdx.x // FOURS), int32(cuda.threadIdx.x % FOURS)
        index = int32((group * lines + column + line) * terms + slab * TERMS + 4 * four)
        target = int32(at + line_at(line, four))
        for number in range(columns // LINES):
            cp_async16(shared, target + LINES * TERMS * number, packed, int32(index + LINES * number * terms), 4)

    return copy_packed


def make_forward(tile):
    """Kernels ``y = epilogue(product + bias)`` and ``y = epilogue(product)`` of transposed weights."""
    size, lines = tile.stages * tile.stage, 3 * tile.rows // LINES
    copy_packed = make_copy_packed(tile.columns)
    biased, plain = (make_convolve("tf32", tile, copy_packed, "lines", one) for one in (four_biases, no_biases))

    def forward(x, packed, bias, y, image, walk, positions, columns, packing):
        shared = cuda.shared.array(size, x.dtype, alignment=ALIGNMENT)
        places = cuda.local.array(lines, int32)
        biased(shared, places, x, packed, bias, y, image, walk, positions, columns, packing)

    def forward_unbiased(x, packed, y, image, walk, positions, columns, packing):
        shared = cuda.shared.array(size, x.dtype, alignment=ALIGNMENT)
        places = cuda.local.array(lines, int32)
        plain(shared, places, x, packed, packed, y, image, walk, positions, columns, packing)

    return forward, forward_unbiased
