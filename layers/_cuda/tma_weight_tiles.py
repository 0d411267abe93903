"""How the gradient of the weights is cut for Hopper's matrix instruction, and the tensor maps of its operands.

A block's tile is ROWS weights of a filter (channels of one tap after another) by some filters, from boxes of 64, 32 or
16 channels; its terms are positions of the window, TERMS at a time. Where a group's channels fill no box, it holds what
lies behind them; such rows are not stored.
"""

from dataclasses import dataclass
from functools import cache
from math import prod
from typing import NamedTuple

from netspec.layers._cuda.implicit_gemm import INDEX_LIMIT
from netspec.layers._cuda.mma_block_tile import PROCESSORS, tiles
from netspec.layers._cuda.tma_conv import corners
from netspec.layers._cuda.tma_pipeline import ROWS, TERMS, Ring, seconds, stage_seconds, turned
from netspec.plugin import Im2col, TensorMap

_MOST_CHUNKS = 128
_LINE_SECONDS, _PARTIAL_BYTES = 1.0e-9, 3.0e12
"""What a stage takes more on an H100 for each line of a box above 256 lines; at what rate partial sums are written and
read."""


@dataclass(frozen=True)
class GradientTile:
    """A tile of ROWS weights by ``columns`` filters, from boxes of ``unit`` channels."""

    columns: int
    unit: int = 64

    @property
    def stage_seconds(self) -> float:
        """What a stage takes on an H100."""
        lines = (ROWS // self.unit + tiles(self.columns, 64)) * TERMS
        return stage_seconds(self.columns) + _LINE_SECONDS * max(lines - 256, 0)


def gradient_ring(tile):
    """The stages: both operands lie along rows and columns."""
    box = 2 * 64 * TERMS
    return Ring(tile.columns, turned(tile.unit, 2 * tile.unit * TERMS), turned(64, box), tiles(tile.columns, 64) * box)


def bias_parts(columns):
    """Parts of a stage's positions whose sums of dy, the bias's gradients, are apart: as threads suffice, 8 at most."""
    return 1 << min(2 * 128 // (columns // 2), 8).bit_length() - 1


class WeightSizes(NamedTuple):
    """The gradient's sizes: positions, groups, channels and filters of one, all filters, and weights of a filter; then
    the windows, as (height, width)."""

    positions: int
    groups: int
    depth: int
    share: int
    filters: int
    rows: int
    size_h: int
    size_w: int
    out_h: int
    out_w: int
    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int


def weight_sizes(g):
    """A convolution's, or a dense layer's."""
    own = g.positions, g.groups, g.depth, g.share, g.filters, prod(g.size) * g.depth
    return WeightSizes(*own, *g.size, *g.out, *g.stride, *g.pad)


def tiles_of_group(g, tile):
    """Rows and columns of tiles that cover a group's weights."""
    boxes = prod(g.size) * tiles(g.depth, tile.unit)
    return tiles(boxes, ROWS // tile.unit), tiles(g.share, tile.columns)


def _seconds(g, tile, stages):
    """What chunks of so many stages take: products, and the sums of chunks written and read again."""
    chunks = tiles(tiles(g.positions, TERMS), stages)
    count = prod(tiles_of_group(g, tile)) * g.groups * chunks
    weights = prod(g.size) * g.depth * g.filters
    sums = 4 * weights * (2 * chunks + 1 if chunks > 1 else 1)
    return seconds(tile.stage_seconds, count, stages) + sums / _PARTIAL_BYTES


@cache
def chunk_stages(g, tile):
    """Stages of a chunk: as many chunks as take the least time, whose sums have indices of 31 bits."""
    all_stages, weights = tiles(g.positions, TERMS), prod(g.size) * g.depth * g.filters
    most = max(min(all_stages, _MOST_CHUNKS, (INDEX_LIMIT - 1) // weights), 1)
    choices = {tiles(all_stages, chunks) for chunks in range(1, most + 1)}
    return min(sorted(choices), key=lambda stages: _seconds(g, tile, stages))


def chunks(g, tile):
    """Chunks of positions, whose sums are apart."""
    return tiles(tiles(g.positions, TERMS), chunk_stages(g, tile))


def d_weight_seconds(g, tile, whole):
    """What the gradient takes on an H100, a guess; ``whole``: in one chunk."""
    return _seconds(g, tile, tiles(g.positions, TERMS) if whole else chunk_stages(g, tile))


def d_weight_grid(g, tile, whole):
    """Blocks: one a multiprocessor at most, which compute tiles in turn."""
    count = prod(tiles_of_group(g, tile)) * g.groups * (1 if whole else chunks(g, tile))
    return (min(count, PROCESSORS),)


def d_weight_maps(g, tile, windows):
    """Tensor maps of x, read by ``windows`` or as a matrix, and of its gradients' matrix."""
    filters = TensorMap("dy", (g.filters, g.positions), (2 * g.filters,), (64, TERMS))
    rows = TensorMap("x", (g.channels, g.batch), (2 * g.channels,), (tile.unit, TERMS), swizzle=2 * tile.unit)
    return {"x_map": window_map("x", g, tile.unit) if windows else rows, "dy_map": filters}


def window_map(name, g, unit):
    """The map of an image's windows, 64 positions of so many channels."""
    (height, width), pixel = g.image, 2 * g.channels
    dims, strides = (g.channels, width, height, g.batch), (pixel, pixel * width, pixel * width * height)
    windows = Im2col(*corners(g), (g.stride[1], g.stride[0]), unit, TERMS)
    return TensorMap(name, dims, strides, im2col=windows, swizzle=2 * unit)
