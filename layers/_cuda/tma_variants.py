"""Convolution by wgmma and TMA where activations are bfloat16: variants such as ``bf16_wgmma_128_64``.

The numbers are columns of tiles: of filters (forward and the gradient of the weights), and of channels (the gradient
of the image).
"""

from itertools import product

from netspec.layers._cuda import tma_weight_variants
from netspec.layers._cuda.mma_block_tile import BOUNDS, PROCESSORS, tiles
from netspec.layers._cuda.mma_variants import marked
from netspec.layers._cuda.tma_conv import (
    back_weight_map,
    corners,
    make_d_x,
    make_forward,
    product_of,
    weight_map,
    windows_map,
    windows_of,
)
from netspec.layers._cuda.tma_pipeline import (
    ROWS,
    THREADS,
    right_along_columns,
    right_along_terms,
    seconds,
    stage_seconds,
)
from netspec.plugin import Variant, backward, forward

COLUMNS = (64, 96, 128, 192, 256)
_CHANNELS = (48, *COLUMNS)
"""Columns of tiles; AlexNet's towers have 48 channels."""
_CORNERS, _LARGEST_STEP, _LARGEST_SIZE = range(-128, 128), 8, 256
"""What a tensor map can say of windows."""


def suits(columns, count):
    """Whether tiles of so many columns waste little of a result that has ``count``."""
    if columns < COLUMNS[0]:
        return count <= columns
    return columns == COLUMNS[0] or 4 * tiles(count, columns) * columns <= 5 * tiles(count, COLUMNS[0]) * COLUMNS[0]


def _tiles_of(g, columns, direction):
    """All tiles of a product, and the stages of one."""
    sizes, windows = product_of(g, direction == "backward"), windows_of(g, direction == "backward")
    classes = windows.classes_h * windows.classes_w
    count = tiles(sizes.rows, ROWS) * tiles(sizes.share, columns) * sizes.groups * classes
    return count, windows.size_h * windows.size_w * sizes.blocks / classes


def _grid(columns, direction):
    return lambda t: (min(_tiles_of(t.geometry, columns, direction)[0], PROCESSORS),)


def _forward_maps(t):
    return {"x_map": windows_map("x", t.geometry), "weight_map": weight_map(t.geometry)}


def _back_maps(columns):
    def maps(t):
        return {"dy_map": windows_map("dy", t.geometry, True), "weight_map": back_weight_map(t.geometry, columns)}

    return maps


def _forward_kernels(columns):
    biased, unbiased = make_forward(columns)
    options = {"shared": right_along_columns(columns).shared, "maps": _forward_maps}
    args = f"bf16_wgmma_{columns}", "y", _grid(columns, "forward"), THREADS
    return (
        marked(forward, biased, *args, when={"bias": True}, **options),
        marked(forward, unbiased, *args, when={"bias": False}, **options),
    )


def _d_x_kernel(columns):
    options = {"shared": right_along_terms(columns).shared, "maps": _back_maps(columns)}
    args = f"bf16_wgmma_{columns}", "d_x", _grid(columns, "backward"), THREADS
    return marked(backward, make_d_x(columns), *args, **options)


def takes_matrices(t, g):
    """Whether x and the weights are bfloat16, in rows that tensor maps can describe."""
    stored = t.x.dtype == t.weight.dtype == "bfloat16" and g.dilation == (1, 1)
    return stored and all(count % 8 == 0 for count in (g.channels, g.depth, g.filters, g.share)) and g.fits


def _takes_windows(g):
    """Whether tensor maps can describe the windows over x and dy."""
    sides = (corner for back in (False, True) for pair in corners(g, back) for corner in pair)
    return all(side in _CORNERS for side in sides) and max(g.stride) <= _LARGEST_STEP and max(g.size) <= _LARGEST_SIZE


def _supports(filters, channels):
    def supports(layer, t):
        g = t.geometry
        return takes_matrices(t, g) and suits(filters, g.share) and suits(channels, g.depth) and _takes_windows(g)

    return supports


def _cost(filters, channels):
    def cost(layer, t, direction, capability):
        if t.x.dtype != "bfloat16":  # costs are asked for before it is that the variant does not support this
            return 0.0
        if direction == "forward":
            return seconds(stage_seconds(filters), *_tiles_of(t.geometry, filters, direction))
        d_x = seconds(stage_seconds(channels), *_tiles_of(t.geometry, channels, direction))
        return d_x + tma_weight_variants.seconds(t.geometry, filters)

    return cost


def _scalars(layer, t):
    """What the kernels take beside tensors."""
    g = t.geometry
    forwards = {"product": product_of(g), "windows": windows_of(g), "classes": g.scalars()["classes"]}
    backwards = {"back_product": product_of(g, True), "back_windows": windows_of(g, True)}
    return {**forwards, **backwards, **tma_weight_variants.scalars(layer, t)}


_FORWARD = {columns: _forward_kernels(columns) for columns in COLUMNS}
_D_X = {columns: _d_x_kernel(columns) for columns in _CHANNELS}
_D_WEIGHT = {columns: tma_weight_variants.conv_kernels(columns) for columns in COLUMNS}


def _workspace(filters):
    def workspace(layer, t, direction):
        return tma_weight_variants.conv_workspace(t, filters) if direction == "backward" else {}

    return workspace


def _variant(filters, channels):
    return Variant(
        f"bf16_wgmma_{filters}_{channels}",
        (*_FORWARD[filters], _D_X[channels], *_D_WEIGHT[filters]),
        _supports(filters, channels),
        _workspace(filters),
        _scalars,
        _cost(filters, channels),
        BOUNDS["bf16"],
        (9, 0),
    )


CONV = tuple(_variant(filters, channels) for filters, channels in product(COLUMNS, _CHANNELS))
