"""Convolution by Hopper's matrix instruction: weights packed so that the tensor cores can read them.

The instruction takes both operands in lines along the terms (K-major). Windows and gradients lie so in memory, and so
do weights for the gradient of the image; for the forward pass they are transposed first, and rounded to tf32 on the
way.
"""

from typing import NamedTuple

from netspec.layers._cuda.implicit_gemm import Columns, Image, Positions, Runs
from netspec.layers._cuda.mma_block_tile import BLOCK_K, THREADS, line_at, tiles
from netspec.layers._cuda.mma_kernels import ALIGNMENT, four_biases, make_convolve, no_biases
from netspec.layers._cuda.mma_operand_copies import FLOAT4S, ROWS_AT_ONCE, divide, int32
from netspec.layers._cuda.wgmma_block_tile import TILES
from netspec.plugin import Lazy, cp_async16, cuda, device, store4

rounded = Lazy("netspec.kernels.warpgroup", "rounded")


class Packing(NamedTuple):
    """Transposed weights of a group: a line a filter, enough lines and terms of a line for whole tiles and stages."""

    lines: int
    terms: int


def packing(geometry):
    """How a convolution's weights are packed."""
    lines = max(tiles(geometry.share, tile.columns) * tile.columns for tile in TILES)
    return Packing(lines, tiles(geometry.patch, BLOCK_K) * BLOCK_K)


def pack_grid(t):
    """Blocks of ``pack_wgmma``, which each have a thread for four terms of a filter."""
    lines, terms = packing(t.geometry)
    return tiles(lines * terms // 4, THREADS), t.geometry.groups


def pack_wgmma(weight, packed, runs: Runs, columns: Columns, packing: Packing):
    """Transposed weights; zeros where there is no filter or no term."""
    item, group, pitch = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x), int32(cuda.blockIdx.y), columns.pitch
    four = int32(item // packing.lines)  # threads side by side have filters side by side, as they lie in memory
    f, term = int32(item - four * packing.lines), int32(4 * four)
    if term < packing.terms:
        run = divide(term, runs.padded_factor, runs.padded_shift)
        place = int32(term - run * runs.padded)
        count = int32(runs.length - place) if run < runs.rows * runs.per_row and f < columns.share else int32(0)
        index = (run * runs.length + place) * pitch + group * columns.share + f
        a = rounded(weight[index]) if count > 0 else 0.0
        b = rounded(weight[index + pitch]) if count > 1 else 0.0
        c = rounded(weight[index + 2 * pitch]) if count > 2 else 0.0
        d = rounded(weight[index + 3 * pitch]) if count > 3 else 0.0
        store4(packed, (group * packing.lines + f) * packing.terms + term, a, b, c, d)


def make_copy_packed(columns):
    """Copies 16 terms of the transposed weights of so many filters, in lines."""

    @device
    def copy_packed(shared, at, stage, packed, column, group, runs, packing):
        line, four = int32(cuda.threadIdx.x // FLOAT4S), int32(cuda.threadIdx.x % FLOAT4S)
        index = int32((group * packing.lines + column + line) * packing.terms + stage * BLOCK_K + 4 * four)
        target = int32(at + line_at(line, four))
        for number in range(columns // ROWS_AT_ONCE):
            own = int32(index + ROWS_AT_ONCE * number * packing.terms)
            cp_async16(shared, target + ROWS_AT_ONCE * BLOCK_K * number, packed, own, 4)

    return copy_packed


def make_forward(tile):
    """Kernels ``y = finish(product + bias)`` and ``y = finish(product)`` of transposed weights."""
    size, lines = tile.stages * tile.stage, 3 * tile.rows // ROWS_AT_ONCE
    copy_packed = make_copy_packed(tile.columns)
    biased, plain = (make_convolve("tf32", tile, copy_packed, "lines", one) for one in (four_biases, no_biases))

    def forward(
        x, packed, bias, y, image: Image, runs: Runs, positions: Positions, columns: Columns, packing: Packing,
        *operands,
    ):  # fmt: skip
        shared = cuda.shared.array(size, x.dtype, alignment=ALIGNMENT)
        places = cuda.local.array(lines, int32)
        biased(shared, places, x, packed, bias, y, image, runs, positions, columns, packing, operands)

    def forward_unbiased(
        x, packed, y, image: Image, runs: Runs, positions: Positions, columns: Columns, packing: Packing, *operands
    ):
        shared = cuda.shared.array(size, x.dtype, alignment=ALIGNMENT)
        places = cuda.local.array(lines, int32)
        plain(shared, places, x, packed, packed, y, image, runs, positions, columns, packing, operands)

    return forward, forward_unbiased
