"""Convolution of few channels by wgmma and TMA where activations are bfloat16: variants such as ``bf16_cells_96``.

The number is the filters of a tile. See netspec.layers._cuda.tma_cells for the cells that the products read; the
gradient of the image, which nobody wants of a network's images, is the plain kernel's.
"""

from dataclasses import replace
from math import prod

from netspec.layers._cuda import column_sums, conv_tiled
from netspec.layers._cuda.mma_block_tile import BOUNDS, PROCESSORS, tiles
from netspec.layers._cuda.mma_variants import marked
from netspec.layers._cuda.tma_cells import THREADS as COPY_THREADS
from netspec.layers._cuda.tma_cells import (
    Cells,
    cut_of,
    fill_grid,
    fits,
    line_of_cell,
    make_fill,
    pack_grid,
    pack_weights,
)
from netspec.layers._cuda.tma_conv import (
    Product,
    Windows,
    four_biases,
    make_convolve,
    no_biases,
    product_of,
    weight_map,
    windows_map,
    windows_of,
)
from netspec.layers._cuda.tma_d_weight import load_window, make_gradient
from netspec.layers._cuda.tma_pipeline import ROWS, THREADS, right_along_columns
from netspec.layers._cuda.tma_weight_tiles import (
    GradientTile,
    WeightSizes,
    chunks,
    d_weight_grid,
    d_weight_maps,
    weight_sizes,
)
from netspec.layers._cuda.tma_weight_variants import bias_workspace, marked_gradients
from netspec.plugin import Variant, Workspace, backward, forward

COLUMNS = (48, 64, 96, 128)
_MOST_CHANNELS = 15
"""Channels up to which cells are taken where the image's channels would do too."""


def _cut(t):
    return cut_of(t.geometry)


def _forward_maps(t):
    g = _cut(t).geometry
    return {"cells_map": windows_map("cells", g), "packed_map": replace(weight_map(g), array="packed")}


def _gradient_maps(tile):
    def maps(t):
        both = d_weight_maps(_cut(t).geometry, tile, True)
        return {"cells_map": replace(both["x_map"], array="cells"), "dy_map": both["dy_map"]}

    return maps


def _forward_kernels(columns):
    biased, plain = (make_convolve(columns, biases) for biases in (four_biases, no_biases))

    def forward_cells(
        cells_map, packed_map, cells, packed, bias, y, cells_product: Product, cells_windows: Windows, *operands
    ):  # fmt: skip
        biased(cells_map, packed_map, y, bias, operands, cells_product, cells_windows)

    def forward_cells_unbiased(
        cells_map, packed_map, cells, packed, y, cells_product: Product, cells_windows: Windows, *operands
    ):  # fmt: skip
        plain(cells_map, packed_map, y, y, operands, cells_product, cells_windows)

    def grid(t):
        g = _cut(t).geometry
        return (min(tiles(g.positions, ROWS) * tiles(g.share, columns), PROCESSORS),)

    options = {"shared": right_along_columns(columns).shared, "maps": _forward_maps}
    args = f"{columns}", "y", grid, THREADS
    return (
        marked(forward, forward_cells, *args, when={"bias": True}, **options),
        marked(forward, forward_cells_unbiased, *args, when={"bias": False}, **options),
    )


def _gradient_kernels(tile):
    both, alone = (make_gradient(tile, load_window, line_of_cell, has_bias) for has_bias in (True, False))

    def d_weight_cells(
        cells_map, dy_map, cells, dy, partials, bias_partials, cells_weights: WeightSizes, cell_sizes: Cells
    ):  # fmt: skip
        both(cells_map, dy_map, partials, cells_weights, cell_sizes, bias_partials)

    def d_weight_cells_unbiased(
        cells_map, dy_map, cells, dy, partials, cells_weights: WeightSizes, cell_sizes: Cells
    ):  # fmt: skip
        alone(cells_map, dy_map, partials, cells_weights, cell_sizes, partials)

    def grid(t):
        return d_weight_grid(_cut(t).geometry, tile, False)

    functions = d_weight_cells, d_weight_cells_unbiased
    return tuple(marked_gradients(functions, tile, f"{tile.columns}", "partials", grid, _gradient_maps(tile)))


_FILL, _FILL_AGAIN = (
    marked(direction, make_fill(), name, "cells", lambda t: fill_grid(_cut(t)), COPY_THREADS)
    for direction, name in ((forward, "forward"), (backward, "backward"))
)
_PACK = marked(forward, pack_weights, "forward", "packed", lambda t: pack_grid(_cut(t)), COPY_THREADS)


def _workspace(tile):
    def workspace(layer, t, direction):
        cut = _cut(t)
        cells = {"cells": Workspace((cut.count,), "bfloat16", per="iteration")}
        if direction == "forward":
            return {**cells, "packed": Workspace((prod(cut.taps) * cut.depth * cut.g.filters,), "bfloat16")}
        count = chunks(cut.geometry, tile)
        partials = Workspace((count, t.weight.size), "float32")
        return {**cells, "partials": partials, **bias_workspace(cut.g, tile.columns, count)}

    return workspace


def _scalars(layer, t):
    """What the kernels take beside tensors."""
    cut = _cut(t)
    g = cut.geometry
    weights = weight_sizes(g)._replace(rows=t.weight.size // cut.g.filters)
    own = {"cells_product": product_of(g), "cells_windows": windows_of(g), "cells_weights": weights}
    return {**own, "cell_sizes": cut.cells}


def _supports(layer, t):
    """Few channels, or so many that rows of pixels are no whole parts of 16 bytes."""
    g = t.geometry
    stored = t.x.dtype == t.weight.dtype == "bfloat16"
    few = g.channels <= _MOST_CHANNELS or g.channels % 8 != 0
    return stored and few and g.groups == 1 and g.filters % 8 == 0 and g.fits and fits(cut_of(g))


def _cost(tile):
    return lambda layer, t, direction, capability: _cut(t).seconds(tile)[direction == "backward"]


def _variant(columns):
    tile = GradientTile(columns)
    kernels = (
        _FILL,
        _PACK,
        *_forward_kernels(columns),
        conv_tiled.d_x_cuda,
        _FILL_AGAIN,
        *_gradient_kernels(tile),
        column_sums.d_weight_sum_cuda,
        column_sums.d_bias_sum_cuda,
    )
    name, workspace, cost = f"bf16_cells_{columns}", _workspace(tile), _cost(tile)
    return Variant(name, kernels, _supports, workspace, _scalars, cost, BOUNDS["bf16"], (9, 0))


VARIANTS = tuple(_variant(columns) for columns in COLUMNS)
