"""The main loop by Hopper's matrix instruction (wgmma): block tiles of a warpgroup, stages in shared memory.

A block is one warpgroup, of four warps. Tensor cores read both operands from shared memory by themselves, while the
warps start the copies of a later stage; sums stay in registers. Blocks share a multiprocessor, so that products of one
run while another waits for its copies. Factors are truncated to tf32, not rounded: the bound is twice that of rounding.
"""

from dataclasses import dataclass

from netspec.layers._cuda.mma_block_tile import BLOCK_K, THREADS, Tile
from netspec.plugin import Lazy, cp_async_commit, cp_async_wait, cuda, device

int32 = Lazy("numpy", "int32")
fence, cached_copy = (Lazy("netspec.kernels.warpgroup", name) for name in ("fence", "cp_async16_cached"))
BOUND = 2e-3
"""Error of a product against the sum of its absolute terms: 13 bits of each factor's mantissa are cut off."""


@dataclass(frozen=True)
class WarpgroupTile(Tile):
    """A tile of 128 rows, whose shared memory begins at a multiple of 1024 bytes.

    ``cached``: windows are copied through the first-level cache, because neighbours read nearly the same pixels. The
    tensor cores ask for more than the second-level cache can give all multiprocessors.
    """

    cached: bool = True

    @property
    def copy(self):
        """See Tile."""
        return cached_copy if self.cached else super().copy

    def row_functions(self):
        """See Tile; columns need not share the threads out evenly."""
        return make_place(self), super().row_functions()[1]

    def __str__(self):
        return super().__str__() + ("" if self.cached else "_uncached")

    def pitch(self, order):
        """See Tile; pairs of sums are stored here."""
        return self.columns + 8

    def main_loop(self, precision, left, right, fill):
        """See Tile."""
        return make_main_loop(self, fill)

    def spread(self, order, right):
        """See Tile."""
        return make_spread(self)


TILES = (
    WarpgroupTile(128, 128, 1.0),
    WarpgroupTile(128, 96, 0.9),
    WarpgroupTile(128, 64, 0.75),
    WarpgroupTile(128, 128, 0.9, cached=False),
)


def _warpgroup(name, *args):
    return Lazy("netspec.kernels.warpgroup", name, args)


def make_main_loop(tile, fill):
    """A device function ``main_loop(shared, count, state)``, see mma_block_tile; both operands lie in lines.

    The memory that a stage's copies go to was read by the product of the stage before: each warp has waited for that
    one before it came to the barrier.
    """
    size, stages, right_at, blocks = tile.stage, tile.stages, tile.rows * BLOCK_K, tile.rows // 64
    ahead, pending, last = stages - 1, stages - 2, (stages - 1) * size
    zeros = Lazy("netspec.kernels.warp_tiles", "zeros", (blocks * tile.columns // 2,))
    multiply, wait = _warpgroup("multiply", blocks, tile.columns), _warpgroup("wait", blocks, tile.columns)

    @device
    def main_loop(shared, count, state):
        for stage in range(ahead):
            if stage < count:
                fill(shared, int32(stage * size), int32(stage), state)
            cp_async_commit()
        sums = zeros()
        here, there = int32(0), int32(ahead * size)
        for stage in range(count):
            cp_async_wait(pending)
            fence()
            cuda.syncthreads()
            sums = multiply(shared, here, int32(here + right_at), sums)
            if int32(stage + ahead) < count:
                fill(shared, there, int32(stage + ahead), state)
            cp_async_commit()
            sums = wait(sums)
            there = here
            here = int32(here + size) if here < last else int32(0)
        cp_async_wait(0)
        return sums

    return main_loop


def make_spread(tile):
    """A device function ``spread(shared, half, sums)``: a block of 64 rows in rows of the tile's pitch."""
    pitch = tile.pitch("lines")
    store = _warpgroup("store", tile.rows // 64, tile.columns, pitch)

    @device
    def spread(shared, half, sums):
        warp, lane = cuda.threadIdx.x // 32, cuda.threadIdx.x % 32
        cuda.syncthreads()
        store(shared, int32((warp * 16 + lane // 4) * pitch + lane % 4 * 2), sums, half)
        cuda.syncthreads()

    return spread


def make_place(tile):
    """A device function ``place()``: a thread's first row of a block and its columns; threads left over have no row."""
    float4s, beyond = tile.columns // 4, tile.rows
    used = THREADS // float4s * float4s

    @device
    def place():
        row = int32(cuda.threadIdx.x // float4s) if cuda.threadIdx.x < used else int32(beyond)
        return row, int32(cuda.threadIdx.x % float4s * 4)

    return place
