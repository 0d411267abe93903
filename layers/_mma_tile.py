"""Products of matrices on tensor cores: tiles, and the loop in which copies run ahead of the products.

A block of four warps computes a tile of the result. Slabs of 16 terms of both operands pass through shared memory in
stages: while one is multiplied, the next are on their way (cp.async). Shared memory holds float32; each warp loads
fragments 128 bits at a time, converts them (to tf32 or bfloat16) and adds up in float32. In the end the sums pass
through shared memory once more, so that whole rows are stored.
"""

from dataclasses import dataclass

from netspec.plugin import Lazy, cp_async_commit, cp_async_wait, cuda, device, load4

THREADS, WARPS = 128, 2
"""Threads of a block, and warps along either side of its tile."""
TERMS = 16
"""Terms of a slab."""
BOUNDS = {"tf32": 1e-3, "bf16": 8e-3}
"""Error of a product against the sum of its absolute terms: both factors are rounded to 10 or 7 bits of mantissa."""
_SHARED_MOST = 12288
"""Elements of shared memory that a block may declare: 48 KiB."""


@dataclass(frozen=True)
class Tile:
    """Rows and columns of the result that a block computes."""

    rows: int
    columns: int
    speed: float
    """Results a second, against the largest tile's, of a GPU that has enough to do: a guess, until it is measured."""

    @property
    def stage(self) -> int:
        """Elements of one slab of both operands."""
        return (self.rows + self.columns) * TERMS

    @property
    def stages(self) -> int:
        """Slabs in shared memory."""
        return min(_SHARED_MOST // self.stage, 4)

    @property
    def pitch(self) -> int:
        """Elements from row to row of sums in shared memory: rows are shifted, so that no two threads share a bank."""
        return self.columns + 4

    @property
    def left(self) -> int:
        """Row tiles of 16 of a warp."""
        return self.rows // WARPS // 16

    @property
    def right(self) -> int:
        """Panels of 32 columns of a warp."""
        return self.columns // WARPS // 32

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"


TILES = (Tile(128, 128, 1.0), Tile(128, 64, 0.85), Tile(64, 64, 0.6))
VARIANTS = {f"{precision}_{tile}": (precision, tile) for precision in BOUNDS for tile in TILES}
"""Variants of kernels by name: precision and tile."""
PROCESSORS = 132
"""Multiprocessors of the GPU that tiles are chosen for, where none has been measured: an H100's."""


def tiles(count, size):
    """Tiles that cover so many rows or columns."""
    return -(-count // size)


def cost(tile, rows, columns, terms, products=1):
    """How long so many products of matrices take with this tile, in its multiply-adds at the largest tile's speed."""
    blocks = tiles(rows, tile.rows) * tiles(columns, tile.columns) * products
    return tiles(blocks, PROCESSORS) * tile.rows * tile.columns * terms / tile.speed


def _warp(name, *args):
    return Lazy("netspec.kernels.warp_tiles", name, args)


def make_product(tile, precision, left, right, fill):
    """A device function ``product(shared, slabs, state)``: a thread's sums over all slabs.

    ``left`` and ``right`` are the operands' orders in shared memory, see netspec.kernels.warp_tiles; the device
    function ``fill(shared, at, slab, state)`` starts the copies of a slab to the stage at that place.
    """
    stage, stages, right_at = tile.stage, tile.stages, tile.rows * TERMS
    ahead, pending = stages - 1, stages - 2
    zeros = _warp("zeros", 16 * tile.left * tile.right)
    load_left = _warp("load", _left_offsets(left, tile))
    load_right = _warp("load", _right_offsets(right, tile))
    multiply = _warp("multiply", precision, left, right, tile.left, tile.right)
    left_place, right_place = _PLACES[left](tile.rows), _PLACES[right](tile.columns)

    @device
    def product(shared, slabs, state):
        warp = cuda.threadIdx.x // 32
        left_at, other_at = left_place(warp // WARPS), right_at + right_place(warp % WARPS)
        for slab in range(ahead):
            if slab < slabs:
                fill(shared, slab * stage, slab, state)
            cp_async_commit()
        sums = zeros()
        here, there = 0, ahead * stage
        for slab in range(slabs):
            cp_async_wait(pending)
            cuda.syncthreads()
            if slab + ahead < slabs:
                fill(shared, there, slab + ahead, state)
            cp_async_commit()
            sums = multiply(load_left(shared, here + left_at), load_right(shared, here + other_at), sums)
            there = here
            here = here + stage if here + stage < stages * stage else 0
        cp_async_wait(0)
        cuda.syncthreads()
        return sums

    return product


def _left_offsets(order, tile):
    if order == "lines":
        return tuple(8 * TERMS * half for half in range(2 * tile.left))
    return tuple(32 * panel + tile.rows * k for panel in range(tile.left // 2) for k in range(4))


def _right_offsets(order, tile):
    if order == "lines":
        return tuple(8 * TERMS * part for part in range(4 * tile.right))
    return tuple(32 * panel + tile.columns * k for panel in range(tile.right) for k in range(4))


def _in_lines(width):
    per_warp = width // WARPS * TERMS

    @device
    def place(warp):
        lane = cuda.threadIdx.x % 32
        return warp * per_warp + lane // 4 * TERMS + lane % 4 * 4

    return place


def _in_terms(width):
    per_warp = width // WARPS // 4

    @device
    def place(warp):
        lane = cuda.threadIdx.x % 32
        return swizzled(lane % 4 * 4, warp * per_warp + lane // 4, width)

    return place


_PLACES = {"lines": _in_lines, "terms": _in_terms}


@device
def swizzled(term, four, width):
    """Where the four-th four elements of a term lie ("terms"): shuffled, so that no two threads share a bank."""
    return term * width + (four ^ term // 4 * 2) * 4


def make_spread(tile, order):
    """A device function ``spread(shared, half, sums)``: one half of the tile's rows in rows of ``tile.pitch``."""
    pitch, per_warp, apart = tile.pitch, tile.columns // WARPS, 1 if order == "lines" else 4
    store = _warp("store", order, tile.left, tile.right, pitch)

    @device
    def spread(shared, half, sums):
        warp, lane = cuda.threadIdx.x // 32, cuda.threadIdx.x % 32
        cuda.syncthreads()
        if warp // WARPS == half:
            store(shared, lane // 4 * apart * pitch + warp % WARPS * per_warp + lane % 4 * 8, sums)
        cuda.syncthreads()

    return spread


def make_rows(tile):
    """Device functions for the spread sums of a half: where fours of them lie, how many count, and four of them."""
    pitch, fours, height = tile.pitch, tile.columns // 4, tile.rows // WARPS

    @device
    def place(item):
        return item // fours, item % fours * 4

    @device
    def items(half, rows):
        """Of so many rows of the tile; no constant: loops over it are not unrolled while sums fill registers."""
        return min(max(rows - half * height, 0), height) * fours

    @device
    def four_sums(shared, row, column):
        return load4(shared, row * pitch + column)

    return place, items, four_sums
