"""Products of matrices on tensor cores: tiles, and the loop in which copies run ahead of the products.

A block of four warps, or eight for the largest tile, computes a tile of the result. Slabs of 16 terms of both operands
pass through shared memory in stages: while one is multiplied, the next are on their way (cp.async). Shared memory holds
float32; each warp loads fragments, converts them (to tf32 or bfloat16) and adds up in float32. In the end the sums pass
through shared memory once more, so that whole rows are stored.
"""

from dataclasses import dataclass

from netspec.plugin import Lazy, cp_async16, cp_async_commit, cp_async_wait, cuda, device, load4

int32 = Lazy("numpy", "int32")
opaque = Lazy("netspec.kernels.instructions", "opaque")
THREADS, WARPS = 128, 2
"""Threads of a block of four warps, and warps that stand side by side."""
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
    """Results a second, against those of 128 x 128, of a GPU that has enough to do: a guess, until it is measured."""
    resident: int = 2
    """Blocks that a multiprocessor holds at once, by registers and shared memory (netspec.gates.tensor_core_bound)."""

    @property
    def copy(self):
        """The instruction that copies windows, 16 bytes at a time."""
        return cp_async16

    @property
    def stage(self) -> int:
        """Elements of one slab of both operands."""
        return (self.rows + self.columns) * TERMS

    @property
    def stages(self) -> int:
        """Slabs in shared memory."""
        return min(_SHARED_MOST // self.stage, 4)

    def pitch(self, order: str) -> int:
        """Elements from row to row of sums in shared memory: rows are shifted, so that no two threads share a bank."""
        return self.columns + (8 if order == "lines" else 4)

    @property
    def down(self) -> int:
        """Warps above one another."""
        return max(self.rows // 64, WARPS)

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return 32 * WARPS * self.down

    @property
    def left(self) -> int:
        """Row tiles of 16 of a warp."""
        return self.rows // self.down // 16

    @property
    def right(self) -> int:
        """Column tiles of 8 of a warp."""
        return self.columns // WARPS // 8

    def product(self, precision, left, right, fill):
        """See make_product."""
        return make_product(self, precision, left, right, fill)

    def spread(self, order):
        """See make_spread."""
        return make_spread(self, order)

    def row_functions(self, order):
        """See make_rows."""
        return make_rows(self, order)

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"


TILES = (Tile(256, 128, 1.1, 1), Tile(128, 128, 1.0, 2), Tile(128, 64, 0.8, 3), Tile(64, 64, 0.55, 4))
VARIANTS = {f"{precision}_{tile}": (precision, tile) for precision in BOUNDS for tile in TILES}
"""Variants of kernels by name: precision and tile."""
PROCESSORS = 132
"""Multiprocessors of the GPU that tiles are chosen for, where none has been measured: an H100's."""


def tiles(count, size):
    """Tiles that cover so many rows or columns."""
    return -(-count // size)


def cost(tile, rows, columns, terms, products=1):
    """How long so many products of matrices take with this tile, in multiply-adds at the speed of 128 x 128.

    The multiprocessor with the most blocks decides. Where it never has two warps for each of its quarters at once, they
    wait without anything else to do: half as long again, which is a guess too.
    """
    blocks = tiles(rows, tile.rows) * tiles(columns, tile.columns) * products
    most = tiles(blocks, PROCESSORS)
    waits = 1.5 if min(most, tile.resident) * tile.threads < 256 else 1.0
    return waits * most * tile.rows * tile.columns * terms / tile.speed


def _warp(name, *args):
    return Lazy("netspec.kernels.warp_tiles", name, args)


def make_product(tile, precision, left, right, fill):
    """A device function ``product(shared, slabs, state)``: a thread's sums over all slabs.

    ``left`` and ``right`` are the operands' orders in shared memory, see netspec.kernels.warp_tiles; the device
    function ``fill(shared, at, slab, state)`` starts the copies of a slab to the stage at that place.
    """
    stage, stages, right_at = tile.stage, tile.stages, tile.rows * TERMS
    ahead, pending, last = stages - 1, stages - 2, (stages - 1) * stage
    zeros = _warp("zeros", 4 * tile.left * tile.right)
    load_left = _warp("load", left, "left", tile.left, tile.rows)
    load_right = _warp("load", right, "right", tile.right, tile.columns)
    multiply = _warp("multiply", precision, tile.left, tile.right)
    left_bases = _make_bases(left, "left", tile.rows, tile.down)
    right_bases = _make_bases(right, "right", tile.columns, WARPS)

    @device
    def product(shared, slabs, state):
        warp = int32(cuda.threadIdx.x // 32)
        left, right = left_bases(0, warp // WARPS), right_bases(right_at, warp % WARPS)
        for slab in range(ahead):
            if slab < slabs:
                fill(shared, int32(slab * stage), int32(slab), state)
            cp_async_commit()
        sums = zeros()
        here, there = int32(0), int32(ahead * stage)
        for slab in range(slabs):
            cp_async_wait(pending)
            cuda.syncthreads()
            if int32(slab + ahead) < slabs:
                fill(shared, there, int32(slab + ahead), state)
            cp_async_commit()
            sums = multiply(load_left(shared, left, here), load_right(shared, right, here), sums)
            there = here
            here = int32(here + stage) if here < last else int32(0)
        cp_async_wait(0)
        cuda.syncthreads()
        return sums

    return product


@device
def line_at(line, four):
    """See netspec.kernels.warp_tiles."""
    return line * TERMS + (four ^ line // 2 % 4) * 4


@device
def term_at(term, four, width):
    """See netspec.kernels.warp_tiles."""
    return term * width + (four ^ term % 4 * 2) * 4


def _make_bases(order, side, width, warps):
    """A device function ``bases(at, warp)``: netspec.kernels.warp_tiles.bases in a warp's share of an operand."""
    lines, terms = width // warps * TERMS, width // warps

    @device
    def left_lines(at, warp):
        lane, start = int32(cuda.threadIdx.x % 32), int32(at + warp * lines)
        a = opaque(int32(start + line_at(lane % 16, lane // 16)))
        b = opaque(int32(start + line_at(lane % 16, 2 + lane // 16)))
        return a, b, a, b

    @device
    def right_lines(at, warp):
        lane, start = int32(cuda.threadIdx.x % 32), int32(at + warp * lines)
        a = opaque(int32(start + line_at(lane % 8, lane // 8)))
        return a, a, a, a

    @device
    def left_terms(at, warp):
        lane, start = int32(cuda.threadIdx.x % 32), int32(at + warp * terms)
        own = int32(start + lane // 4 % 2 * 2)
        a = opaque(int32(own + term_at(lane % 4, lane // 8, width)))
        b = opaque(int32(own + term_at(lane % 4, 4 + lane // 8, width)))
        return a, b, a, b

    @device
    def right_terms(at, warp):
        lane, start = int32(cuda.threadIdx.x % 32), int32(at + warp * terms)
        own, four = int32(start + lane // 4 % 4), int32(lane // 16)
        a = opaque(int32(own + term_at(lane % 4, four, width)))
        b = opaque(int32(own + term_at(lane % 4, 2 + four, width)))
        c = opaque(int32(own + term_at(lane % 4, 4 + four, width)))
        return a, b, c, opaque(int32(own + term_at(lane % 4, 6 + four, width)))

    found = {("lines", "left"): left_lines, ("terms", "left"): left_terms, ("lines", "right"): right_lines}
    return found.get((order, side), right_terms)


def make_spread(tile, order):
    """A device function ``spread(shared, part, sums)``: the rows of some of its warps, ``tile.pitch`` apart."""
    pitch, per_warp, apart = tile.pitch(order), tile.columns // WARPS, 1 if order == "lines" else 2
    store = _warp("store", order, tile.left, tile.right, pitch)

    @device
    def spread(shared, part, sums):
        warp, lane = cuda.threadIdx.x // 32, cuda.threadIdx.x % 32
        cuda.syncthreads()
        if warp // WARPS == part:
            store(shared, int32(lane // 4 * apart * pitch + warp % WARPS * per_warp + lane % 4 * 2), sums)
        cuda.syncthreads()

    return spread


def make_rows(tile, order):
    """Device functions for a part of the sums, spread: where a thread's rows and columns begin, how many, four sums."""
    pitch, fours, height = tile.pitch(order), tile.columns // 4, tile.rows // tile.down

    @device
    def place():
        """Its first row of the part and its four columns; it has each ``tile.threads // fours``-th row."""
        return int32(cuda.threadIdx.x // fours), int32(cuda.threadIdx.x % fours * 4)

    @device
    def count(part, rows):
        """Of so many rows of the tile; no constant: loops over it are not unrolled while sums fill registers."""
        return int32(min(max(rows - part * height, 0), height))

    @device
    def four_sums(shared, row, column):
        return load4(shared, int32(row * pitch + column))

    return place, count, four_sums
