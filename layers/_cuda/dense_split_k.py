"""Dense layers of few rows by split-K: a block sums a part of the terms, to occupy all multiprocessors.

A batch of 128 and 2048 units are 16 tiles of 128 x 128, for 132 multiprocessors. The terms are cut into as many chunks
as give each of these two blocks; the sums of chunks are summed in turn, always in the same order, and only then go
through bias and epilogue.
"""

from typing import NamedTuple

from netspec.layers._cuda import fma_block_tile, mma_variants
from netspec.layers._cuda.cards import card_of, sum_seconds
from netspec.layers._cuda.implicit_gemm import Columns, Image, Positions, Runs
from netspec.layers._cuda.mma_block_tile import (
    BLOCK_K,
    BOUNDS,
    PROCESSORS,
    STORED,
    STORED_TILES,
    Tile,
    tiles,
)
from netspec.layers._cuda.mma_kernels import ALIGNMENT, make_write, stages_of, tile_at
from netspec.layers._cuda.mma_operand_copies import (
    FLOAT4S,
    find_windows,
    int32,
    make_copy_weights,
    make_copy_windows,
    put_four,
)
from netspec.layers._cuda.mma_variants import forward_grid, marked
from netspec.plugin import Variant, Workspace, cuda, device, finish, forward, load4, put_others, quotient, store4

TILE = Tile(128, 128, 1.0)
_TILES = {
    **{f"{precision}_{TILE}_split": (precision, TILE) for precision in BOUNDS},
    f"float32_{TILE}_split": ("float32", fma_block_tile.TILES[0]),
    f"bf16_stored_{TILE}_split": (STORED, STORED_TILES[0]),
}
_THREADS = 256
_FEWEST = 16
"""Stages of a chunk, where there are enough."""
_TRAFFIC = 3.0
"""Multiply-adds of a multiprocessor in the time in which memory takes and gives back one sum of a chunk."""


class Split(NamedTuple):
    """Stages of a chunk of the terms at most, and groups."""

    stages: int
    groups: int


def _stages(g):
    """All stages, and those of a chunk."""
    stages, (blocks, groups) = tiles(g.patch, BLOCK_K // 4 * g.unit), (tiles(g.positions, TILE.rows), g.groups)
    blocks *= tiles(g.share, TILE.columns)
    return stages, tiles(stages, max(min(2 * PROCESSORS // (blocks * groups), max(stages // _FEWEST, 2)), 1))


def _chunks(g):
    return tiles(*_stages(g))


def make_chunk(precision, tile):
    """The kernel that sums a chunk of the terms."""
    copy_windows, copy_weights, terms = make_copy_windows(tile, 1), make_copy_weights(tile), tile.terms
    height, width, right_at, apart = tile.rows, tile.columns, tile.rows * BLOCK_K, tile.threads // FLOAT4S
    size, lines = tile.stages * tile.stage, 3 * tile.rows // apart

    @device
    def fill(shared, at, stage, state):
        x, weight, places, column, group, first_stage, image, runs, columns = state
        own = int32(first_stage + stage)
        copy_windows(shared, at, own, x, places, runs.rows, runs.per_row, image, runs)
        copy_weights(shared, int32(at + right_at), own, weight, column, group, runs, columns)

    @device
    def put(row, shared, at, state):
        products, first, f, group, columns = state
        a, b, c, d = load4(shared, at)
        index = (first + row) * columns.pitch + group * columns.share + f
        put_four(products, index, int32(columns.share - f), columns.alignment, a, b, c, d)

    main_loop = tile.main_loop(precision, "lines", "terms", fill)
    place, write = make_write(tile, "lines", "terms", put)

    def forward_chunk(
        x, weight, products, image: Image, runs: Runs, positions: Positions, columns: Columns, split: Split
    ):
        shared = cuda.shared.array(size, x.dtype, alignment=ALIGNMENT)
        places = cuda.local.array(lines, int32)
        chunk = quotient(cuda.blockIdx.y, split.groups)
        group, first_stage = int32(cuda.blockIdx.y - chunk * split.groups), int32(chunk * split.stages)
        first, first_filter = tile_at(columns.share, height, width)
        find_windows(places, height, apart, first, group, (int32(0), int32(0)), image, positions)
        state = (x, weight, places, first_filter, group, first_stage, image, runs, columns)
        count = int32(min(stages_of(runs, runs.rows, terms) - first_stage, split.stages))
        sums = main_loop(shared, count, state)
        own = place()
        f = int32(first_filter + own[1])
        state = (products, chunk * positions.count + first, f, group, columns)
        write(shared, sums, own, positions.count - first, f < columns.share, state)

    return forward_chunk


@device
def sum_of(products, i, size):
    """The sum of an element over all chunks."""
    total = products[i]
    for place in range(i + size, products.size, size):
        total += products[place]
    return total


@device
def sums_of(products, i, size):
    """Those of four elements."""
    a, b, c, d = load4(products, i)
    for place in range(i + size, products.size, size):
        p = load4(products, place)
        a, b, c, d = a + p[0], b + p[1], c + p[2], d + p[3]
    return a, b, c, d


@device
def put_four_finished(y, i, sums, operands):
    """Four elements of y, and what else an epilogue gives."""
    values = finish(sums[0], sums[1], sums[2], sums[3], i, int32(4), True, operands)
    store4(y, i, values[0], values[1], values[2], values[3])
    put_others(values, i, int32(4), True, operands)


@device
def put_finished(y, e, total, operands):
    """One of them."""
    values = finish(total, 0.0, 0.0, 0.0, e, int32(1), False, operands)
    y[e] = values[0]
    put_others(values, e, int32(1), False, operands)


def make_sums():
    """Kernels that sum chunks: ``y = finish(sum + bias)`` and ``y = finish(sum)``."""

    def forward_sum(products, bias, y, columns: Columns, *operands):
        i, units = 4 * cuda.grid(1), columns.pitch
        if units % 4 == 0:
            if i < y.size:
                a, b, c, d = sums_of(products, i, y.size)
                p = load4(bias, i - quotient(i, units) * units)
                put_four_finished(y, i, (a + p[0], b + p[1], c + p[2], d + p[3]), operands)
        else:
            for e in range(i, min(i + 4, y.size)):
                put_finished(y, e, sum_of(products, e, y.size) + bias[e - quotient(e, units) * units], operands)

    def forward_sum_unbiased(products, y, columns: Columns, *operands):
        i = 4 * cuda.grid(1)
        if columns.pitch % 4 == 0:
            if i < y.size:
                put_four_finished(y, i, sums_of(products, i, y.size), operands)
        else:
            for e in range(i, min(i + 4, y.size)):
                put_finished(y, e, sum_of(products, e, y.size), operands)

    return forward_sum, forward_sum_unbiased


def _supports(precision):
    """Whether there is something to split."""
    able = mma_variants.supports_stored if precision == STORED else mma_variants.supports
    return lambda layer, t: able(layer, t) and _stages(t.geometry)[0] >= 4 and _chunks(t.geometry) > 1


def _workspace(layer, t, direction):
    """The sums of chunks."""
    if direction == "backward":
        return mma_variants.workspace(layer, t, direction)
    return {"products": Workspace((_chunks(t.geometry), t.y.size), "float32")}


def _scalars(layer, t):
    g = t.geometry
    return {**mma_variants.scalars(layer, t), "split": Split(_stages(g)[1], g.groups)}


def _cost_of(tile):
    stored = tile.unit == 8

    def cost(layer, t, direction, capability):
        g, chunks, price = t.geometry, _chunks(t.geometry), mma_variants.price_of(tile if stored else TILE, capability)
        if direction == "backward":
            return mma_variants.backward_cost(g, price, whole=True)
        sums = chunks * g.batch * g.filters
        more = sum_seconds(card_of(capability), sums) if stored else _TRAFFIC * sums
        return price(g.batch, g.share, g.patch / chunks, g.groups * chunks) + more

    return cost


def _chunk_grid(t):
    blocks, groups = forward_grid(t, TILE)
    return blocks, groups * _chunks(t.geometry)


def _sum_grid(t):
    return (tiles(t.y.size, 4 * _THREADS),)


def _variant(name, precision, tile):
    whole = mma_variants.DENSE[name.removesuffix("_split")]
    biased, unbiased = make_sums()
    kernels = (
        marked(forward, make_chunk(precision, tile), name, "products", _chunk_grid, tile.threads),
        marked(forward, biased, name, "y", _sum_grid, _THREADS, when={"bias": True}),
        marked(forward, unbiased, name, "y", _sum_grid, _THREADS, when={"bias": False}),
        *(kernel for kernel in whole.kernels if kernel.direction == "backward"),
    )
    return Variant(name, kernels, _supports(precision), _workspace, _scalars, _cost_of(tile), whole.bound)


VARIANTS = tuple(_variant(name, *chosen) for name, chosen in _TILES.items())
