"""Cards by which variants on bfloat16 are ranked, and how long products take on them: figures of NVIDIA's white papers.

None of these variants has run on a card yet; what is ranked is what their instructions and bytes allow.
"""

from dataclasses import dataclass

from netspec.layers._cuda.mma_block_tile import BLOCK_K, WARPS_N, tiles

_START, _LINE = 2.0e-6, 4 * BLOCK_K
"""Seconds that a kernel takes besides, and bytes of a line of a stage."""
_SHARED_BYTES = 128
"""Bytes a cycle of a multiprocessor's shared memory."""


@dataclass(frozen=True)
class Card:
    """A GPU: multiprocessors, their clock in Hz, bytes a second of its memory.

    ``products`` are multiply-adds a cycle of one multiprocessor by mma.sync on bfloat16, summed in float32.
    """

    name: str
    processors: int
    clock: float
    products: float
    bandwidth: float


CARDS = {
    (8, 0): Card("A100", 108, 1.41e9, 1024, 1.555e12),
    (8, 6): Card("RTX 3090", 82, 1.695e9, 256, 0.936e12),
    (8, 9): Card("RTX 4090", 128, 2.52e9, 256, 1.008e12),
    (9, 0): Card("H100", 132, 1.755e9, 0.62 * 2048, 3.35e12),
    (12, 0): Card("RTX 5090", 170, 2.407e9, 256, 1.792e12),
}
"""By compute capability: 312, 71, 165, 613 (by mma.sync) and 210 TFLOP/s."""


def card_of(capability):
    """The card of a capability, or else the one of the next lower; an A100 where none is known."""
    known = capability if isinstance(capability, tuple) else (8, 0)
    return CARDS[max((one for one in CARDS if one <= known), default=(8, 0))]


def stored_seconds(tile, card, rows, columns, terms, products=1):
    """How long so many products of matrices take with a StoredTile: as the multiprocessor with the most blocks.

    A stage takes as long as its products, or as shared memory takes for what warps read and copies write. Half as long
    again where blocks are too few for two warps a quarter, as in mma_block_tile.cost.
    """
    blocks = tiles(rows, tile.rows) * tiles(columns, tile.columns) * products
    most = tiles(blocks, card.processors)
    lines = WARPS_N * tile.rows + tile.warps_m * tile.columns + tile.rows + tile.columns
    cycles = max(tile.rows * tile.columns * tile.terms / card.products, lines * _LINE / _SHARED_BYTES)
    waits = 1.5 if min(most, tile.resident) * tile.threads < 256 else 1.0
    return waits * most * tiles(terms, tile.terms) * cycles / card.clock + _START


def sum_seconds(card, sums):
    """How long it takes to write so many float32 sums of chunks, and to sum them by another kernel."""
    return 8 * sums / card.bandwidth + _START
