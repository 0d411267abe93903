"""Products by Hopper's tensor cores: a warp fetches by TMA, two warpgroups multiply, over a ring of stages.

A block is three warpgroups and stays: it computes one tile of 128 rows after another, ``gridDim.x`` apart. One thread
of the first warpgroup, which gives its registers away, has the boxes of both operands copied into the ring's stages, 64
terms each; the two others multiply 64 rows each and store them, while copies for the next tile are under way. Each
stage has two mbarriers: ``full``, which the copies' bytes complete, and ``empty``, at which both consumers arrive.
"""

from dataclasses import dataclass
from functools import cache

from netspec.layers._cuda.mma_block_tile import PROCESSORS, tiles
from netspec.plugin import Lazy, cuda, device

uint8, int32, uint32 = (Lazy("numpy", name) for name in ("uint8", "int32", "uint32"))
shared_address, global_address, init, fence_init, expect, arrive, wait, elected, of_warp = (
    Lazy("netspec.kernels.mbarriers", name)
    for name in (
        "shared_address", "global_address", "init", "fence_init", "expect", "arrive", "wait", "elected", "of_warp",
    )
)  # fmt: skip
acquire, load_2d = (Lazy("netspec.kernels.tma", name) for name in ("acquire", "load_2d"))
shuffle_xor = Lazy("netspec.kernels.instructions", "shuffle_xor")
THREADS = 384
ROWS, TERMS = 128, 64
"""Rows of a tile, and terms of a stage."""
BOX = 64
"""Columns of a box of a right operand that lies along them."""
MOST_STAGES = 6
_SHARED = 231424
"""Bytes of shared memory that stages and barriers may take: 227 KiB less what their alignment may cost."""
_GIVEN, _TAKEN = 40, 232
"""Registers of the producers' and of the consumers' threads: of 168 for each of 384, as the launch bounds have it."""

_STAGE_SECONDS, _COLUMN_SECONDS, _TILE_SECONDS = 1.56e-7, 2.74e-9, 1.0e-6
"""What a stage takes on an H100, and for each of its tile's columns more; what a tile takes besides. From figures of
products of 4096 x 4096 and of AlexNet's convolutions."""


def stage_seconds(columns):
    """How long a stage of a tile of so many columns takes."""
    return _STAGE_SECONDS + _COLUMN_SECONDS * columns


def seconds(of_stage, count, stages):
    """How long so many tiles take, each of so many stages of so many seconds."""
    return tiles(count, PROCESSORS) * (stages * of_stage + _TILE_SECONDS)


def lines(unit, rows):
    """An operand along its terms, as boxes of ``unit`` terms (64, 32 or 16) of so many rows (see wgmma.Operand)."""
    steps = tuple(term // unit * rows * unit * 2 + term % unit * 2 for term in range(0, TERMS, 16))
    return 2 * unit, 16 * unit, 16, 0, steps


def turned(unit, leading):
    """An operand along its rows, as boxes of 64 terms of ``unit`` rows, ``leading`` bytes apart."""
    return 2 * unit, 16 * unit, leading, 1, tuple(range(0, TERMS * 2 * unit, 32 * unit))


@dataclass(frozen=True)
class Ring:
    """The stages: columns of the tile, how both operands lie, and bytes of the right one."""

    columns: int
    left: tuple
    right: tuple
    right_bytes: int
    left_bytes: int = ROWS * TERMS * 2

    @property
    def stage(self) -> int:
        """Bytes of a stage."""
        return self.left_bytes + self.right_bytes

    @property
    def stages(self) -> int:
        """As many as fit."""
        return min(MOST_STAGES, _SHARED // (self.stage + 16))

    @property
    def shared(self) -> int:
        """Bytes of shared memory, those of the mbarriers among them."""
        return self.stages * (self.stage + 16)


def right_along_columns(columns):
    """Stages whose left operand lies along the terms, the right one along the columns in boxes of 64."""
    box = 2 * BOX * TERMS
    return Ring(columns, lines(TERMS, ROWS), turned(BOX, box), -(-columns // BOX) * box)


def right_along_terms(columns):
    """Stages both of whose operands lie along the terms."""
    return Ring(columns, lines(TERMS, ROWS), lines(TERMS, columns), 2 * columns * TERMS)


def make_ring(ring):
    """Device functions for the thread that fetches.

    ``open_stage(base, at, phase)`` waits for stage ``at`` and gives its ``full`` barrier, which all its bytes are to
    come to. ``next_stage(at, phase)``: what follows. Both begin at 0.
    """
    stages, stage = ring.stages, ring.stage
    full = stages * stage
    empty = full + 8 * stages

    @device
    def open_stage(base, at, phase):
        wait(base + empty + at * 8, phase ^ 1)
        barrier = uint32(base + full + at * 8)
        expect(barrier, stage)
        return barrier

    @device
    def next_stage(at, phase):
        if at == stages - 1:
            return uint32(0), uint32(phase ^ 1)
        return uint32(at + 1), uint32(phase)

    return open_stage, next_stage


def make_consume(ring, next_stage):
    """A device function ``consume(base, half, count, at, phase)``: a consumer's sums over so many stages."""
    stages, stage, left_bytes, half_bytes = ring.stages, ring.stage, ring.left_bytes, half_of(ring)
    full = stages * stage
    empty = full + 8 * stages
    multiply = Lazy("netspec.kernels.wgmma_products", "multiply", (ring.columns, ring.left, ring.right))
    zeros = Lazy("netspec.kernels.warp_tiles", "zeros", (ring.columns // 2,))
    finish = Lazy("netspec.kernels.warpgroup", "wait", (1, ring.columns))
    settle = Lazy("netspec.kernels.wgmma_products", "settle", (1,))

    @device
    def consume(base, half, count, at, phase):
        sums, first, before = zeros(), cuda.threadIdx.x % 128 == 0, at
        for number in range(count):
            wait(base + full + at * 8, phase)
            place = uint32(base + at * stage)
            sums = multiply(place + half * half_bytes, place + left_bytes, sums, number)
            settle()
            if first and number > 0:
                arrive(base + empty + before * 8)
            before = at
            at, phase = next_stage(at, phase)
        sums = finish(sums)
        if first and count > 0:
            arrive(base + empty + before * 8)
        return sums, at, phase

    return consume


def half_of(ring):
    """Bytes from the left operand's first 64 rows to its last 64."""
    swizzle, _, leading, is_turned, _ = ring.left
    return 64 // (swizzle // 2) * leading if is_turned else 64 * swizzle


def make_tile(ring, stages_of, put):
    """A device function ``compute(base, half, tile, at, phase, state)``: a consumer's work for a tile."""
    consume = make_consume(ring, make_ring(ring)[1])

    @device
    def compute(base, half, tile, at, phase, state):
        sums, at, phase = consume(base, half, stages_of(tile, state), at, phase)
        put(sums, tile, half, state)
        return at, phase

    return compute


def make_pipeline(ring, produce, stages_of, put, compute=None):
    """A device function ``pipeline(left_map, right_map, tiles, state)``: a kernel's work.

    Device functions: ``produce(base, at, phase, tile, left_map, right_map, state)`` fetches a tile's stages and gives
    ``at`` and ``phase`` behind the last one; ``stages_of(tile, state)`` tells how many they are; ``put(sums, tile,
    half, state)`` stores a thread's sums of the tile's upper or lower half. ``compute`` takes the place of
    ``make_tile``'s.
    """
    stages, barriers = ring.stages, ring.stages * ring.stage
    give = Lazy("netspec.kernels.mbarriers", "give_registers", (_GIVEN,))
    take = Lazy("netspec.kernels.mbarriers", "take_registers", (_TAKEN,))
    compute = compute or make_tile(ring, stages_of, put)

    @device
    def pipeline(left_map, right_map, tiles, state):
        base = shared_address(cuda.shared.array(0, uint8, alignment=1024))
        left, right = global_address(left_map), global_address(right_map)
        group = of_warp(int32(cuda.threadIdx.x // 128))
        if cuda.threadIdx.x == 0:
            acquire(left)
            acquire(right)
            for stage in range(stages):
                init(base + barriers + 8 * stage, 1)
                init(base + barriers + 8 * (stages + stage), 2)
            fence_init()
        cuda.syncthreads()
        at, phase, tile = uint32(0), uint32(0), int32(cuda.blockIdx.x)
        if group == 0:
            give()
            if cuda.threadIdx.x < 32 and elected() != 0:
                while tile < tiles:
                    at, phase = produce(base, at, phase, tile, left, right, state)
                    tile = int32(tile + cuda.gridDim.x)
        else:
            take()
            while tile < tiles:
                at, phase = compute(base, int32(group - 1), tile, at, phase, state)
                tile = int32(tile + cuda.gridDim.x)

    return pipeline


@device
def row_of(half):
    """The row of a tile of which ``make_spread_four`` gives a thread the sums."""
    thread = cuda.threadIdx.x % 128
    return int32(64 * half + thread // 32 * 16 + thread % 2 * 8 + thread % 32 // 4)


@device
def exchange(a, b, c, d):
    """Four neighbours of one row for two of each of two rows: threads side by side give each other what they have."""
    odd = cuda.threadIdx.x % 2 == 1
    p, q = shuffle_xor(a if odd else c, 1), shuffle_xor(b if odd else d, 1)
    return (p, q, c, d) if odd else (a, b, p, q)


def make_spread_four(columns, ready, put):
    """A device function ``spread(sums, column, count, state)`` for a thread's sums of one row of a tile.

    ``column`` is the tile's first; of the columns those less than ``count``, a multiple of 8, are there. For each four
    neighbours it calls ``ready(column, a, b, c, d, state)``, which gives what ``put(column, values, state)`` is to
    store: first for 64 columns the one, so that what that reads is under way together, and then the other. Where
    there is no such column, ``ready`` gets another one, of the same row.
    """
    source, code = _spread_four(columns)
    scope = {"cuda": cuda, "exchange": exchange, "ready": ready, "put": put, "__name__": __name__}
    exec(code, scope)  # the text is made of this module's words only
    spread = device(scope["spread"])
    spread.__netspec_source__ = source
    return spread


@cache
def _spread_four(columns):
    """The text of the function, and that compiled: many kernels have tiles of so many columns."""
    lines = ["def spread(sums, column, count, state):", "    own = column + cuda.threadIdx.x % 4 // 2 * 4"]
    for first in range(0, columns, BOX):
        starts = range(first, min(first + BOX, columns), 8)
        lines.append(f"    if column + {first} < count:")
        for at in starts:
            values = ", ".join(f"sums[{at // 2 + number}]" for number in range(4))
            lines.append(f"        place = own + {at} if column + {at} < count else own + {first}")
            lines.append(f"        four{at} = ready(place, *exchange({values}), state)")
        for at in starts:
            lines.append(f"        if column + {at} < count:")
            lines.append(f"            put(own + {at}, four{at}, state)")
    source = "\n".join(lines)
    return source, compile(source, "<spread>", "exec")
