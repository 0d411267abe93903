"""Dense layers of few rows on tensor cores: a block sums a part of the terms, so that all multiprocessors have work.

A batch of 128 and 2048 units are 16 tiles of 128 x 128, for 132 multiprocessors. The terms are cut into as many chunks
as give each of these two blocks; the sums of chunks are summed in turn, always in the same order, and only then go
through bias and epilogue.
"""

from dataclasses import replace

from netspec.layers._cuda import conv_mma as mma
from netspec.layers._cuda.mma_block_tile import BOUNDS, PROCESSORS, TERMS, Tile, cost, tiles
from netspec.layers._cuda.mma_kernels import ALIGNMENT, slabs_of, tile_at
from netspec.layers._cuda.mma_operand_copies import (
    FOURS,
    find_windows,
    int32,
    make_copy_weights,
    make_copy_windows,
    put_four,
)
from netspec.plugin import Workspace, cuda, device, epilogue, forward, load4, quotient, store4

TILE = Tile(128, 128, 1.0)
VARIANTS = {f"{precision}_{TILE}_split": precision for precision in BOUNDS}
"""Precisions by variant."""
BOUNDS_OF = {variant: BOUNDS[precision] for variant, precision in VARIANTS.items()}
"""Error bounds by variant."""
_THREADS = 256
_FEWEST = 16
"""Slabs of a chunk, where there are enough."""
_TRAFFIC = 3.0
"""Multiply-adds of a multiprocessor in the time in which memory takes and gives back one sum of a chunk."""


def passes(kernels):
    """All variants' kernels by name, for a layer class's body, among whose ``kernels`` those of mma.passes are."""
    found = {}
    for variant, precision in VARIANTS.items():
        backward = [one for one in kernels.values() if getattr(one, "variant", "") == f"{precision}_{TILE}"]
        for one in (*_forward(variant, precision), *backward):
            if one.direction == "backward" or one.variant == variant:
                found[f"{one.function.__name__}_of_{variant}"] = replace(one, variant=variant)
    return found


def _forward(variant, precision):
    def mark(function, writes, threads, grid, **options):
        function.__name__ = f"{function.__name__}_{variant}"
        options |= {"threads": threads, "variant": variant, "linear": True, "grid": grid}
        return forward("cuda", over=writes, writes=writes, **options)(function)

    def chunk_grid(t):
        blocks, groups = mma.rows_grid(t.geometry, TILE)
        return blocks, groups * _chunks(t.geometry)

    def sum_grid(t):
        return (tiles(t.y.size, 4 * _THREADS),)

    biased, unbiased = make_sums()
    yield mark(make_chunk(precision, TILE), "products", TILE.threads, chunk_grid)
    yield mark(biased, "y", _THREADS, sum_grid, when={"bias": True})
    yield mark(unbiased, "y", _THREADS, sum_grid, when={"bias": False})


def _slabs(g):
    """All slabs, and those of a chunk."""
    slabs = tiles(g.patch, TERMS)
    blocks, groups = mma.rows_grid(g, TILE)
    return slabs, tiles(slabs, max(min(2 * PROCESSORS // (blocks * groups), max(slabs // _FEWEST, 2)), 1))


def _chunks(g):
    return tiles(*_slabs(g))


def scalars(geometry):
    """Slabs of a chunk, and groups."""
    return {"split": (_slabs(geometry)[1], geometry.groups)}


def workspace(t):
    """The sums of chunks."""
    return {"products": Workspace((_chunks(t.geometry), t.y.size), t.x.dtype)}


def supports(t):
    """Whether there is something to split."""
    return mma.supports(t) and _slabs(t.geometry)[0] >= 4 and _chunks(t.geometry) > 1


def ranked(variants, geometry, direction):
    """The variants in the order in which they are likely to be fast, see mma.ranked."""
    order = mma.ranked(variants, geometry, direction, whole=True)
    if direction == "backward" or _chunks(geometry) < 2:
        return order
    for variant in set(VARIANTS) & set(order):
        others = [name for name in order if name.startswith(f"{VARIANTS[variant]}_") and name not in VARIANTS]
        slower = [name for name in others if mma.time_of(name, geometry, direction, True) > _time(geometry)]
        rest = [name for name in order if name != variant]
        place = rest.index(slower[0]) if slower else rest.index(others[-1]) + 1 if others else len(rest)
        order = (*rest[:place], variant, *rest[place:])
    return order


def _time(g):
    chunks = _chunks(g)
    products = cost(TILE, g.batch, g.share, g.patch / chunks, g.groups * chunks)
    return products + _TRAFFIC * chunks * g.batch * g.filters


def make_chunk(precision, tile):
    """The kernel that sums a chunk of the terms."""
    copy_windows = make_copy_windows(tile.rows, 1, tile.copy, tile.threads)
    copy_weights = make_copy_weights(tile.columns, tile.threads)
    rows, width, right_at, part_rows = tile.rows, tile.columns, tile.rows * TERMS, tile.rows // tile.down
    at_once, parts, apart = tile.threads // (tile.columns // 4), tile.down, tile.threads // FOURS
    size, lines = tile.stages * tile.stage, 3 * tile.rows // apart

    @device
    def fill(shared, at, slab, state):
        x, weight, places, column, group, first_slab, image, walk, columns = state
        own = int32(first_slab + slab)
        copy_windows(shared, at, own, x, places, walk[7], walk[4], image, walk)
        copy_weights(shared, int32(at + right_at), own, weight, column, group, walk, columns)

    product, spread = tile.product(precision, "lines", "terms", fill), tile.spread("lines")
    place_of, count_of, four_sums = tile.row_functions("lines")

    def forward_chunk(x, weight, products, image, walk, positions, columns, split):
        shared = cuda.shared.array(size, x.dtype, alignment=ALIGNMENT)
        places = cuda.local.array(lines, int32)
        share, pitch, wide = columns
        at_most, groups = split
        chunk = quotient(cuda.blockIdx.y, groups)
        group, first_slab = int32(cuda.blockIdx.y - chunk * groups), int32(chunk * at_most)
        first, first_filter = tile_at(share, rows, width)
        find_windows(places, rows, apart, first, group, image, positions)
        state = (x, weight, places, first_filter, group, first_slab, image, walk, columns)
        sums = product(shared, int32(min(slabs_of(walk, walk[7]) - first_slab, at_most)), state)
        start, column = place_of()
        f = int32(first_filter + column)
        for part in range(parts):
            spread(shared, part, sums)
            count = count_of(part, positions[0] - first) if f < share else int32(0)
            for row in range(start, count, at_once):
                a, b, c, d = four_sums(shared, row, column)
                line = chunk * positions[0] + first + part * part_rows + row
                put_four(products, line * pitch + group * share + f, int32(share - f), wide, a, b, c, d)

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


def make_sums():
    """Kernels that sum chunks: ``y = epilogue(sum + bias)`` and ``y = epilogue(sum)``."""

    def forward_sum(products, bias, y, columns):
        i = 4 * cuda.grid(1)
        if columns[1] % 4 == 0:
            if i < y.size:
                a, b, c, d = sums_of(products, i, y.size)
                p = load4(bias, i - quotient(i, columns[1]) * columns[1])
                store4(y, i, epilogue(a + p[0]), epilogue(b + p[1]), epilogue(c + p[2]), epilogue(d + p[3]))
        else:
            for e in range(i, min(i + 4, y.size)):
                y[e] = epilogue(sum_of(products, e, y.size) + bias[e - quotient(e, columns[1]) * columns[1]])

    def forward_sum_unbiased(products, y, columns):
        i = 4 * cuda.grid(1)
        if columns[1] % 4 == 0:
            if i < y.size:
                a, b, c, d = sums_of(products, i, y.size)
                store4(y, i, epilogue(a), epilogue(b), epilogue(c), epilogue(d))
        else:
            for e in range(i, min(i + 4, y.size)):
                y[e] = epilogue(sum_of(products, e, y.size))

    return forward_sum, forward_sum_unbiased
