"""Dense layers by wgmma and TMA where activations are bfloat16: variants such as ``bf16_wgmma_128``.

The number is columns of tiles: of units (forward and the gradient of the weights), and of channels (the gradient of
x). In those that end in ``_split`` the terms are cut into chunks for both, see netspec.layers._cuda.tma_dense.
"""

from netspec.layers._cuda import dense_split_k, tma_weight_variants
from netspec.layers._cuda.mma_block_tile import BOUNDS, PROCESSORS, tiles
from netspec.layers._cuda.mma_variants import marked
from netspec.layers._cuda.tma_dense import Factors, d_x_sum, make_d_x, make_forward, rows_map, weight_map
from netspec.layers._cuda.tma_pipeline import (
    BOX,
    ROWS,
    TERMS,
    THREADS,
    right_along_columns,
    right_along_terms,
    seconds,
    stage_seconds,
)
from netspec.layers._cuda.tma_variants import COLUMNS, suits, takes_matrices
from netspec.plugin import Variant, Workspace, backward, forward

_SUM_THREADS = 256
_MOST_CHUNKS, _FEWEST_STAGES = 16, 4
"""Chunks at most, and stages of one at least."""
_BYTES, _SUM_SECONDS = 2.5e12, 2.0e-6
"""Bytes a second of an H100's memory, and what one more kernel takes besides."""


def _factors(g, direction):
    """The product's sizes."""
    rows, units = g.batch, g.filters
    return Factors(rows, g.channels, units) if direction == "forward" else Factors(rows, units, g.channels)


def _seconds(factors, columns, chunks, split=True):
    """How long a product takes in so many chunks, which are summed by themselves where it is ``split``."""
    count = tiles(factors.rows, ROWS) * tiles(factors.columns, columns) * chunks
    product = seconds(stage_seconds(columns), count, tiles(tiles(factors.terms, TERMS), chunks))
    product = max(product, 2 * factors.terms * factors.columns / _BYTES)
    sums = 8 * chunks * factors.rows * factors.columns / _BYTES + _SUM_SECONDS
    return product + (sums if split else 0.0)


def _chunks(factors, columns):
    """Chunks of the terms: as many as take the least time, none of them empty."""
    stages = tiles(factors.terms, TERMS)
    most = max(min(_MOST_CHUNKS, stages // _FEWEST_STAGES), 1)
    chunks = min(range(1, most + 1), key=lambda count: _seconds(factors, columns, count, count > 1))
    return tiles(stages, tiles(stages, chunks))


def _chunks_of(t, columns, direction):
    return _chunks(_factors(t.geometry, direction), columns)


def _grid(columns, direction, split):
    def grid(t):
        factors = _factors(t.geometry, direction)
        count = tiles(factors.rows, ROWS) * tiles(factors.columns, columns)
        return (min(count * (_chunks(factors, columns) if split else 1), PROCESSORS),)

    return grid


def _forward_maps(t):
    g = t.geometry
    weights = weight_map(g.channels, g.filters, (BOX, TERMS))
    return {"x_map": rows_map("x", g.batch, g.channels), "weight_map": weights}


def _back_maps(columns):
    def maps(t):
        g = t.geometry
        weights = weight_map(g.channels, g.filters, (TERMS, columns))
        return {"dy_map": rows_map("dy", g.batch, g.filters), "weight_map": weights}

    return maps


def _sum_grid(name):
    return lambda t: (tiles(t[name].size, 4 * _SUM_THREADS),)


def _marked(direction, functions, writes, columns, ring, maps):
    """Kernels of whole products, and the one of chunks: the functions' last."""
    *whole, chunks = functions
    name, options = f"bf16_wgmma_{columns}", {"shared": ring(columns).shared, "maps": maps}
    way, (result, sums) = "forward" if direction is forward else "backward", writes
    conditions = [{"bias": True}, {"bias": False}] if direction is forward else [None]
    grid = _grid(columns, way, False)
    own = tuple(
        marked(direction, one, name, result, grid, THREADS, when=when, **options)
        for one, when in zip(whole, conditions, strict=True)
    )
    return own, marked(direction, chunks, name, sums, _grid(columns, way, True), THREADS, **options)


_BIASED, _UNBIASED = dense_split_k.make_sums()
_SUMS = (
    marked(forward, _BIASED, "bf16_wgmma", "y", _sum_grid("y"), _SUM_THREADS, when={"bias": True}),
    marked(forward, _UNBIASED, "bf16_wgmma", "y", _sum_grid("y"), _SUM_THREADS, when={"bias": False}),
)
_BACK_SUM = marked(backward, d_x_sum, "bf16_wgmma", "d_x", _sum_grid("x"), _SUM_THREADS)


def _supports(columns, split):
    def supports(layer, t):
        g = t.geometry
        able = takes_matrices(t, g) and g.groups == 1 and suits(columns, g.filters)
        return able and (not split or any(_chunks_of(t, columns, way) > 1 for way in ("forward", "backward")))

    return supports


def _workspace(columns, split):
    def workspace(layer, t, direction):
        result, name = (t.y, "products") if direction == "forward" else (t.x, "back_products")
        chunks = Workspace((_chunks_of(t, columns, direction), result.size), "float32")
        spaces = {name: chunks} if split else {}
        return spaces if direction == "forward" else {**spaces, **tma_weight_variants.dense_workspace(t, columns)}

    return workspace


def _scalars(layer, t):
    """What the kernels take beside tensors."""
    g = t.geometry
    factors = {"factors": _factors(g, "forward"), "back_factors": _factors(g, "backward")}
    return {**factors, "columns": g.scalars()["columns"], **tma_weight_variants.scalars(layer, t)}


def _cost(columns, split):
    def cost(layer, t, direction, capability):
        if t.x.dtype != "bfloat16":
            return 0.0
        factors = _factors(t.geometry, direction)
        product = _seconds(factors, columns, _chunks(factors, columns) if split else 1, split)
        whole = direction == "backward"
        return product + (tma_weight_variants.seconds(t.geometry, columns, whole=True) if whole else 0.0)

    return cost


def _variants(columns):
    y, y_chunks = _marked(
        forward, make_forward(columns), ("y", "products"), columns, right_along_columns, _forward_maps
    )
    d_x, d_x_chunks = _marked(
        backward, make_d_x(columns), ("d_x", "back_products"), columns, right_along_terms, _back_maps(columns)
    )
    d_weight = tma_weight_variants.dense_kernels(columns)
    kernels = (*y, *d_x, *d_weight), (y_chunks, *_SUMS, d_x_chunks, _BACK_SUM, *d_weight)
    for split, own in zip((False, True), kernels, strict=True):
        name = f"bf16_wgmma_{columns}{'_split' if split else ''}"
        functions = _supports(columns, split), _workspace(columns, split), _scalars, _cost(columns, split)
        yield Variant(name, own, *functions, BOUNDS["bf16"], (9, 0))


DENSE = tuple(variant for columns in COLUMNS for variant in _variants(columns))
