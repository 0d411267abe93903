"""The tensor-core main loop: block tiles, and the software pipeline in which copies run ahead of the products.

A block of four warps, or eight for the largest, computes a block tile of the result. 16 terms (BLOCK_K) of both
operands pass through shared memory in stages: while one is multiplied, the next are on their way (cp.async). Shared
memory holds float32; each warp loads fragments, converts them (to tf32 or bfloat16) and adds up in float32. In the end
the sums pass through shared memory once more, so that whole rows are stored.

Operands that are bfloat16 in memory stay so in shared memory and in registers (StoredTile): of the same bytes a stage
has 32 terms.
"""

from dataclasses import dataclass

from netspec.plugin import Lazy, cp_async16, cp_async_commit, cp_async_wait, cuda, device

int32 = Lazy("numpy", "int32")
opaque = Lazy("netspec.kernels.instructions", "opaque")
THREADS, WARPS_N = 128, 2
"""Threads of a block of four warps, and warps along the columns of a block tile."""
BLOCK_K = 16
"""Elements of 4 bytes of a line of a stage."""
BOUNDS = {"tf32": 1e-3, "bf16": 8e-3}
"""Error of a product against the sum of its absolute terms: both factors are rounded to 10 or 7 bits of mantissa."""
STORED = "stored"
"""The precision of factors that are bfloat16 in memory, as netspec.kernels.warp_tiles calls it."""
_SHARED_LIMIT = 12288
"""Elements of static shared memory that a block may declare: 48 KiB."""


@dataclass(frozen=True)
class Tile:
    """A block tile: rows and columns of the result that a block computes."""

    rows: int
    columns: int
    speed: float
    """Results a second, against those of 128 x 128, of a GPU that has enough to do: a guess, until it is measured."""
    resident: int = 2
    """Blocks that a multiprocessor holds at once, by registers and shared memory (netspec.gates.tensor_core_bound)."""

    @property
    def unit(self) -> int:
        """Elements of 16 bytes of an operand in memory."""
        return 4

    @property
    def terms(self) -> int:
        """Terms of a stage."""
        return BLOCK_K // 4 * self.unit

    @property
    def copy(self):
        """The instruction that copies windows, 16 bytes at a time."""
        return cp_async16

    @property
    def stage(self) -> int:
        """Elements of 4 bytes of one stage, of both operands."""
        return (self.rows + self.columns) * BLOCK_K

    @property
    def stages(self) -> int:
        """Stages in shared memory."""
        return min(_SHARED_LIMIT // self.stage, 4)

    def pitch(self, order: str) -> int:
        """Elements from row to row of sums in shared memory: rows are shifted, so that no two threads share a bank."""
        return self.columns + (8 if order == "lines" else 4)

    @property
    def warps_m(self) -> int:
        """Warps along the rows."""
        return max(self.rows // 64, WARPS_N)

    @property
    def parts(self) -> int:
        """Parts of the rows that are stored one after the other."""
        return self.warps_m

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return 32 * WARPS_N * self.warps_m

    @property
    def fragments_m(self) -> int:
        """Fragments of 16 rows of a warp (mma.sync.m16n8k8)."""
        return self.rows // self.warps_m // 16

    @property
    def fragments_n(self) -> int:
        """Fragments of 8 columns of a warp."""
        return self.columns // WARPS_N // 8

    def main_loop(self, precision, left, right, fill):
        """See make_main_loop."""
        return make_main_loop(self, precision, left, right, fill)

    def spread(self, order, right):
        """See make_spread; ``right`` is the order of the right operand, for tiles whose columns lie by it."""
        return make_spread(self, order)

    def row_functions(self):
        """See make_rows."""
        return make_rows(self)

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"


@dataclass(frozen=True)
class StoredTile(Tile):
    """A tile of operands that are bfloat16 in memory."""

    @property
    def unit(self):
        """See Tile."""
        return 8

    def main_loop(self, precision, left, right, fill):
        """See make_main_loop."""
        orders = {"lines": "lines", "terms": "pairs"}
        return make_main_loop(self, precision, orders[left], orders[right], fill)

    def pitch(self, order):
        """See Tile; rows of sums lie alike in either order."""
        return super().pitch("lines")

    def spread(self, order, right):
        """See Tile."""
        return super().spread("lines", right)


TILES = (Tile(256, 128, 1.1, 1), Tile(128, 128, 1.0, 2), Tile(128, 64, 0.8, 3), Tile(64, 64, 0.55, 4))
STORED_TILES = (StoredTile(128, 128, 1.0, 2), StoredTile(128, 64, 0.8, 3), StoredTile(64, 64, 0.55, 4))
CONFIGURATIONS = {f"{precision}_{tile}": (precision, tile) for precision in BOUNDS for tile in TILES}
"""Precision and tile by the name of the variant."""
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


def make_main_loop(tile, precision, left, right, fill):
    """A device function ``main_loop(shared, count, state)``: a thread's sums over so many stages.

    ``left`` and ``right`` are the operands' orders in shared memory, see netspec.kernels.warp_tiles; the device
    function ``fill(shared, at, stage, state)`` starts the copies of a stage to that place.
    """
    size, stages, right_at = tile.stage, tile.stages, tile.rows * BLOCK_K
    ahead, pending, last = stages - 1, stages - 2, (stages - 1) * size
    zeros = _warp("zeros", 4 * tile.fragments_m * tile.fragments_n)
    load_left = _warp("load", left, "left", tile.fragments_m, tile.rows)
    load_right = _warp("load", right, "right", tile.fragments_n, tile.columns)
    multiply = _warp("multiply", precision, tile.fragments_m, tile.fragments_n)
    left_bases = _make_bases(left, "left", tile.rows, tile.warps_m)
    right_bases = _make_bases(right, "right", tile.columns, WARPS_N)

    @device
    def main_loop(shared, count, state):
        warp = int32(cuda.threadIdx.x // 32)
        left, right = left_bases(0, warp // WARPS_N), right_bases(right_at, warp % WARPS_N)
        for stage in range(ahead):
            if stage < count:
                fill(shared, int32(stage * size), int32(stage), state)
            cp_async_commit()
        sums = zeros()
        here, there = int32(0), int32(ahead * size)
        for stage in range(count):
            cp_async_wait(pending)
            cuda.syncthreads()
            if int32(stage + ahead) < count:
                fill(shared, there, int32(stage + ahead), state)
            cp_async_commit()
            sums = multiply(load_left(shared, left, here), load_right(shared, right, here), sums)
            there = here
            here = int32(here + size) if here < last else int32(0)
        cp_async_wait(0)
        cuda.syncthreads()
        return sums

    return main_loop


@device
def line_at(line, four):
    """See netspec.kernels.warp_tiles."""
    return line * BLOCK_K + (four ^ line // 2 % 4) * 4


@device
def term_at(term, four, width):
    """See netspec.kernels.warp_tiles."""
    return term * width + (four ^ term % 4 * 2) * 4


@device
def pair_at(term, eight, width):
    """See netspec.kernels.warp_tiles."""
    return term * (width // 2) + (eight ^ term % 8) * 4


def _make_bases(order, side, width, warps):
    """A device function ``bases(at, warp)``: netspec.kernels.warp_tiles.bases in a warp's share of an operand."""
    lines, terms = width // warps * BLOCK_K, width // warps

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
    if order == "pairs":
        return _make_pair_bases(side, width, terms)
    return found.get((order, side), right_terms)


def _make_pair_bases(side, width, lines):
    """Those of netspec.kernels.warp_tiles.pair_bases, of warps that have so many lines each."""

    @device
    def pair_bases(at, warp):
        lane, first = int32(cuda.threadIdx.x % 32), int32(warp * (lines // 8))
        if side == "left":
            term, eight = int32(lane // 16 * 8 + lane % 8), int32(first + lane // 8 % 2)
        else:
            term, eight = int32(lane % 16), int32(first + lane // 16)
        a = opaque(int32(at + pair_at(term, eight, width)))
        b = opaque(int32(at + pair_at(term, int32(eight + 2), width)))
        c = opaque(int32(at + pair_at(term, int32(eight + 4), width)))
        return a, b, c, opaque(int32(at + pair_at(term, int32(eight + 6), width)))

    return pair_bases


def make_spread(tile, order):
    """A device function ``spread(shared, part, sums)``: the rows of some of its warps, ``tile.pitch`` apart."""
    pitch, per_warp, apart = tile.pitch(order), tile.columns // WARPS_N, 1 if order == "lines" else 2
    store = _warp("store", order, tile.fragments_m, tile.fragments_n, pitch)

    @device
    def spread(shared, part, sums):
        warp, lane = cuda.threadIdx.x // 32, cuda.threadIdx.x % 32
        cuda.syncthreads()
        if warp // WARPS_N == part:
            store(shared, int32(lane // 4 * apart * pitch + warp % WARPS_N * per_warp + lane % 4 * 2), sums)
        cuda.syncthreads()

    return spread


def make_rows(tile):
    """Device functions for a part of the sums, spread: where a thread's rows and columns begin, how many rows."""
    float4s, height = tile.columns // 4, tile.rows // tile.parts

    @device
    def place():
        """Its first row of the part and its four columns; it has each ``tile.threads // float4s``-th row."""
        return int32(cuda.threadIdx.x // float4s), int32(cuda.threadIdx.x % float4s * 4)

    @device
    def count(part, rows):
        """Of so many rows of the tile; no constant: loops over it are not unrolled while sums fill registers."""
        return int32(min(max(rows - part * height, 0), height))

    return place, count
