"""Convolution of few channels for Hopper's tensor cores: pixels gathered in cells, which have more channels.

A cell holds the pixels of stride x stride (space to depth), or along an axis those of a whole window: windows are then
fewer taps of cells at stride 1. AlexNet's first layer, 11 x 11 pixels of 3 channels at stride 4, has 3 x 3 cells of 48.
A pass before the products lays cells and weights out, zeros round the image, and a cell's channels padded to a multiple
of 8, as tensor maps want it. The gradient of the weights goes back where the weights lie.
"""

from dataclasses import dataclass
from functools import cache
from itertools import product
from math import prod
from typing import NamedTuple

from netspec.layers._cuda.implicit_gemm import INDEX_LIMIT, Geometry
from netspec.layers._cuda.mma_block_tile import tiles
from netspec.layers._cuda.tma_pipeline import ROWS, TERMS, int32, seconds
from netspec.layers._cuda.tma_weight_tiles import GradientTile, d_weight_seconds
from netspec.plugin import cuda, device, load4, quotient, store4

THREADS = 128
"""Threads of a block that lays cells or weights out."""
_COPY_BYTES = 2.4e12
"""Bytes a second of a large copy on an H100."""


class Cells(NamedTuple):
    """Cells and what they are made of: an image's cells down and across, and channels of a cell as they are padded.

    ``span`` is the elements of a cell's row of pixels, ``rows`` such rows; cells begin ``step`` pixels apart. Where
    all runs of four elements of the image are whole ones of cells and start at multiples of 4, they are ``aligned``.
    """

    down: int
    across: int
    depth: int
    rows: int
    span: int
    step_h: int
    step_w: int
    pad_h: int
    pad_w: int
    height: int
    width: int
    channels: int
    cell_w: int
    taps_w: int
    size_h: int
    size_w: int
    filters: int
    aligned: int


@dataclass(frozen=True)
class Cut:
    """How windows are cut into cells: pixels of a cell along both axes."""

    g: Geometry
    cell: tuple[int, int]

    @property
    def taps(self) -> tuple[int, int]:
        """Cells of a window."""
        down, across = (tiles(size, cell) for size, cell in zip(self.g.size, self.cell, strict=True))
        return down, across

    @property
    def depth(self) -> int:
        """Channels of a cell."""
        return tiles(prod(self.cell) * self.g.channels, 8) * 8

    @property
    def geometry(self) -> Geometry:
        """The convolution over cells."""
        g, taps = self.g, self.taps
        image = (g.out[0] + taps[0] - 1, g.out[1] + taps[1] - 1)
        return Geometry(g.batch, image, self.depth, g.filters, 1, taps, (1, 1), (0, 0), g.out)

    @property
    def count(self) -> int:
        """Elements of all cells."""
        inner = self.geometry
        return inner.batch * prod(inner.image) * inner.channels

    def seconds(self, tile) -> tuple[float, float]:
        """What the forward and the backward pass take on an H100, a guess."""
        inner = self.geometry
        blocks = tiles(inner.positions, ROWS) * tiles(inner.share, tile.columns)
        stages, copied = prod(inner.size) * tiles(inner.depth, TERMS), 4 * self.count / _COPY_BYTES
        return copied + seconds(tile.stage_seconds, blocks, stages), copied + d_weight_seconds(inner, tile, False)

    @property
    def cells(self) -> Cells:
        """The numbers that kernels take."""
        g, inner, span = self.g, self.geometry, self.cell[1] * self.g.channels
        starts = span, g.stride[1] * g.channels, g.pad[1] * g.channels, g.image[1] * g.channels
        aligned = int(all(one % 4 == 0 for one in starts))
        return Cells(
            *inner.image, inner.channels, self.cell[0], span, *g.stride, *g.pad, *g.image, g.channels, self.cell[1],
            inner.size[1], *g.size, g.filters, aligned,
        )  # fmt: skip


@cache
def cut_of(g: Geometry) -> Cut:
    """The fastest cut of a convolution, by the model."""
    ways = [sorted({step, max(size, step)}) for size, step in zip(g.size, g.stride, strict=True)]
    tile = GradientTile(min(tiles(g.filters, 32) * 32, 128))
    return min((Cut(g, cell) for cell in product(*ways)), key=lambda one: sum(one.seconds(tile)))


def fits(cut: Cut) -> bool:
    """Whether indices of cells and their windows fit in 31 bits."""
    return cut.count < INDEX_LIMIT and cut.geometry.fits


def fill_grid(cut: Cut) -> tuple[int, int]:
    """Blocks that lay cells out: one for each row of them."""
    return cut.geometry.image[0], cut.g.batch


def pack_grid(cut: Cut) -> tuple[int, ...]:
    """Blocks that lay weights out: one for each channel of a tap."""
    return (prod(cut.taps) * cut.depth,)


@device
def next_element(row, place, span):
    """The element of a cell behind that one."""
    return (int32(row + 1), int32(0)) if place + 1 == span else (row, int32(place + 1))


@device
def element_of(x, image, top, left, row, place, cells):
    """An element of a cell: zero beside the image and behind a cell's last row."""
    h, w = int32(top + row), int32(left + place)
    edge = int32(cells.width * cells.channels)
    inside = row < cells.rows and 0 <= h and h < cells.height and 0 <= w and w < edge
    return x[int32((image * cells.height + h) * edge + w)] if inside else 0.0


@device
def four_elements(x, image, top, left, row, place, cells):
    """Four neighbouring elements of a cell."""
    a = element_of(x, image, top, left, row, place, cells)
    row, place = next_element(row, place, cells.span)
    b = element_of(x, image, top, left, row, place, cells)
    row, place = next_element(row, place, cells.span)
    c = element_of(x, image, top, left, row, place, cells)
    row, place = next_element(row, place, cells.span)
    return a, b, c, element_of(x, image, top, left, row, place, cells)


@device
def four_aligned(x, image, top, left, row, place, cells):
    """The same, where they are four neighbours of the image, or none is in it."""
    h, w = int32(top + row), int32(left + place)
    edge = int32(cells.width * cells.channels)
    if row < cells.rows and 0 <= h and h < cells.height and 0 <= w and w < edge:
        return load4(x, int32((image * cells.height + h) * edge + w))
    return 0.0, 0.0, 0.0, 0.0


def make_fill():
    """The kernel that lays out a row of an image's cells."""

    def fill_cells(x, cells, cell_sizes: Cells):
        line, image = int32(cuda.blockIdx.x), int32(cuda.blockIdx.y)
        fours, span = int32(cell_sizes.depth // 4), int32(cell_sizes.span)
        top, count = int32(line * cell_sizes.step_h - cell_sizes.pad_h), int32(cell_sizes.across * fours)
        step = int32(cell_sizes.step_w * cell_sizes.channels)
        start, first = int32((image * cell_sizes.down + line) * count), int32(cell_sizes.pad_w * cell_sizes.channels)
        for item in range(cuda.threadIdx.x, count, THREADS):
            cell = quotient(item, fours)
            element = int32(4 * (item - cell * fours))
            row, left = quotient(element, span), int32(cell * step - first)
            place = int32(element - row * span)
            if cell_sizes.aligned:
                a, b, c, d = four_aligned(x, image, top, left, row, place, cell_sizes)
            else:
                a, b, c, d = four_elements(x, image, top, left, row, place, cell_sizes)
            store4(cells, 4 * int32(start + item), a, b, c, d)

    return fill_cells


@device
def weight_of(tap, channel, cells):
    """The row of the weights that is a channel of a tap of cells; -1 where there is none."""
    down = quotient(tap, cells.taps_w)
    across = int32(tap - down * cells.taps_w)
    row = quotient(channel, cells.span)
    place = int32(channel - row * cells.span)
    pixel = quotient(place, cells.channels)
    h, w = int32(down * cells.rows + row), int32(across * cells.cell_w + pixel)
    inside = row < cells.rows and h < cells.size_h and w < cells.size_w
    return int32((h * cells.size_w + w) * cells.channels + place - pixel * cells.channels) if inside else int32(-1)


def pack_weights(weight, packed, cell_sizes: Cells):
    """A channel of a tap: its weights of all filters, or zeros."""
    line, filters = int32(cuda.blockIdx.x), int32(cell_sizes.filters)
    tap = quotient(line, cell_sizes.depth)
    source = weight_of(tap, int32(line - tap * cell_sizes.depth), cell_sizes)
    for four in range(cuda.threadIdx.x, filters // 4, THREADS):
        a, b, c, d = 0.0, 0.0, 0.0, 0.0
        if source >= 0:
            a, b, c, d = load4(weight, int32(source * filters + 4 * four))
        store4(packed, int32(line * filters + 4 * four), a, b, c, d)


@device
def line_of_cell(tap, channel, tiles, cells):
    """See netspec.layers._cuda.tma_d_weight.make_put."""
    return weight_of(tap, channel, cells) if channel < cells.depth else int32(-1)
