"""The main loop without tensor cores: block tiles whose threads have 64 or 128 sums in registers.

Stages come to shared memory as for tensor cores (mma_block_tile); there is no rounding but that of float32 sums. With 8
x 8 sums 16 loads of 128 bits bring the factors of 256 multiply-adds of a thread, with 8 x 16 it is 24 for 512. Lanes of
a warp lie so in the tile that those side by side load the same 16 bytes of one operand: half a warp reads 64 bytes of
either at once.
"""

from dataclasses import dataclass

from netspec.layers._cuda.mma_block_tile import BLOCK_K, Tile
from netspec.plugin import Lazy, cp_async_commit, cp_async_wait, cuda, device

int32 = Lazy("numpy", "int32")
opaque = Lazy("netspec.kernels.instructions", "opaque")


@dataclass(frozen=True)
class FmaTile(Tile):
    """A tile without tensor cores."""

    counts: tuple[int, int] = (8, 8)
    """Rows and columns of a thread."""

    @property
    def grid(self) -> tuple[int, int]:
        """Threads along rows and columns."""
        return self.rows // self.counts[0], self.columns // self.counts[1]

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.grid[0] * self.grid[1]

    @property
    def parts(self) -> int:
        """See Tile; four rows of each thread."""
        return self.counts[0] // 4

    def pitch(self, order):
        """See Tile."""
        return self.columns + (16 if order == "lines" else 4)

    def main_loop(self, precision, left, right, fill):
        """See make_main_loop."""
        return make_main_loop(self, left, right, fill)

    def spread(self, order, right):
        """See make_spread."""
        return make_spread(self, order, right)


TILES = (FmaTile(128, 128, 0.95, 2, (8, 16)), FmaTile(128, 64, 1.0, 3), FmaTile(64, 64, 0.9, 6))
CONFIGURATIONS = {f"float32_{tile}": ("float32", tile) for tile in TILES}
"""Precision and tile by the name of the variant."""


def _registers(name, *args):
    return Lazy("netspec.kernels.register_tiles", name, args)


def make_places(tile):
    """A device function ``places()``: the thread's place along rows and columns, of warps of 4 x 8 threads."""
    warps = tile.grid[1] // 8

    @device
    def places():
        warp, lane = int32(cuda.threadIdx.x // 32), int32(cuda.threadIdx.x % 32)
        down = int32(warp // warps * 4 + lane // 2 % 2 + lane // 8 % 2 * 2)
        return down, int32(warp % warps * 8 + lane % 2 + lane // 4 % 2 * 2 + lane // 16 * 4)

    return places


def make_main_loop(tile, left, right, fill):
    """A device function ``main_loop(shared, count, state)``, see mma_block_tile."""
    size, stages, right_at = tile.stage, tile.stages, tile.rows * BLOCK_K
    ahead, pending, last = stages - 1, stages - 2, (stages - 1) * size
    zeros = Lazy("netspec.kernels.warp_tiles", "zeros", (tile.counts[0] * tile.counts[1],))
    add_products = _registers("add_products", left, right, tile.counts, tile.grid)
    places, left_origin, right_origin = make_places(tile), _make_origin(left), _make_origin(right)

    @device
    def main_loop(shared, count, state):
        down, across = places()
        a, b = opaque(left_origin(down)), opaque(int32(right_at + right_origin(across)))
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
            sums = add_products(shared, int32(a + here), int32(b + here), sums)
            there = here
            here = int32(here + size) if here < last else int32(0)
        cp_async_wait(0)
        cuda.syncthreads()
        return sums

    return main_loop


def _make_origin(order):
    """A device function ``origin(place)``: netspec.kernels.register_tiles.origin."""

    @device
    def lines(place):
        return int32(place * BLOCK_K + place // 2 % 4 * 4)

    @device
    def terms(place):
        return int32(4 * place)

    return lines if order == "lines" else terms


def make_spread(tile, order, right):
    """A device function ``spread(shared, part, sums)``: four rows of each thread, ``tile.pitch`` apart."""
    pitch, rows, columns = tile.pitch(order), 1 if order == "lines" else 4, 1 if right == "lines" else 4
    store, places = _registers("store", order, right, tile.counts, tile.grid, pitch), make_places(tile)

    @device
    def spread(shared, part, sums):
        down, across = places()
        cuda.syncthreads()
        store(shared, int32(down * rows * pitch + across * columns), part, sums)
        cuda.syncthreads()

    return spread
