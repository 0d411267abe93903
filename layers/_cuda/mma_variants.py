"""Convolutions and dense layers by implicit GEMM: variants such as ``tf32_128x64``, one a precision and block tile.

Those of float32 do without tensor cores. ``bf16_stored_...`` are for activations and weights that are bfloat16 in
memory, the others for float32.
"""

from functools import partial

from netspec.layers._cuda import column_sums, fma_block_tile, mma_block_tile
from netspec.layers._cuda.cards import card_of, stored_seconds, sum_seconds
from netspec.layers._cuda.mma_block_tile import BOUNDS, PROCESSORS, cost, tiles
from netspec.layers._cuda.mma_kernels import make_d_weight, make_d_x, make_forward
from netspec.plugin import Variant, Workspace, backward, forward

STORED = {f"bf16_stored_{tile}": (mma_block_tile.STORED, tile) for tile in mma_block_tile.STORED_TILES}
CONFIGURATIONS = {**mma_block_tile.CONFIGURATIONS, **fma_block_tile.CONFIGURATIONS, **STORED}
"""Precision and tile by the name of the variant."""
_MOST_CHUNKS = 128
_IMAGE_CHANNELS = 4
"""Channels up to which a layer is taken to read the network's images, whose gradient nobody wants."""


def marked(direction, function, name, over, grid, threads, also=(), **options):
    """A kernel of the variant of that name, all of whose tensors are given as one axis; it writes ``also`` besides."""
    function.__name__ = f"{function.__name__}_{name}"
    given = {"over": over, "writes": (over, *also), "grid": grid, "threads": threads, "linear": True}
    return direction("cuda", **given, **options)(function)


def forward_grid(t, tile):
    """Blocks of a forward kernel."""
    g = t.geometry
    return tiles(g.positions, tile.rows) * tiles(g.share, tile.columns), g.groups


def d_x_grid(t, tile):
    """Blocks of a kernel of the gradient with respect to the image."""
    g = t.geometry
    count = g.batch * g.cells[0] * g.cells[1]
    return tiles(count, tile.rows) * tiles(g.depth, tile.columns), g.groups * g.stride[0] * g.stride[1]


def images_at_once(geometry):
    """Images of a chunk of the batch: as many chunks as keep a GPU busy, and leave no few blocks for the end."""
    g, blocks = geometry, tiles(geometry.patch, 128) * tiles(geometry.share, 128) * geometry.groups
    few = max(2 * PROCESSORS // blocks, 1)

    def time_of_one(count):
        return tiles(blocks * count, PROCESSORS) * tiles(g.batch, count)

    most = min(g.batch, _MOST_CHUNKS)
    return tiles(g.batch, min((min(few, most), min(few + 1, most)), key=time_of_one))


def chunks(geometry):
    """Chunks of the batch whose weight gradients are summed apart."""
    return tiles(geometry.batch, images_at_once(geometry))


def workspace(layer, t, direction):
    """The weight gradients of chunks, and the bias's."""
    if direction == "forward":
        return {}
    partials = Workspace((chunks(t.geometry), t.weight.size))
    return {"partials": partials, **column_sums.workspace(t)}


def scalars(layer, t):
    """What the kernels take beside tensors."""
    g = t.geometry
    pixels = images_at_once(g) * g.out[0] * g.out[1]
    return {**g.scalars(), "pixels_at_once": pixels, **column_sums.scalars(layer, t)}


def supports(layer, t):
    """Whether the kernels for float32 in memory can run these shapes and this dtype."""
    return t.x.dtype == "float32" and t.geometry.fits


def supports_stored(layer, t):
    """Whether those for bfloat16 in memory can."""
    return t.x.dtype == t.weight.dtype == "bfloat16" and t.geometry.fits


def price_of(tile, capability):
    """``price(rows, columns, terms, products=1)`` of products with a tile: see cost, or stored_seconds."""
    return partial(stored_seconds, tile, card_of(capability)) if tile.unit == 8 else partial(cost, tile)


def forward_cost(g, price):
    """That of the forward product."""
    return price(g.positions, g.share, g.patch, g.groups)


def backward_cost(g, price, whole):
    """That of both gradients; the weights' is summed over the batch at once where it is ``whole``."""
    classes, terms = g.stride[0] * g.stride[1], g.taps[0] * g.taps[1] * g.share
    d_x = price(g.batch * g.cells[0] * g.cells[1], g.depth, terms, g.groups * classes)
    if not whole and g.channels <= _IMAGE_CHANNELS:
        d_x = 0
    parts = 1 if whole else chunks(g)
    return d_x + price(g.patch, g.share, g.positions / parts, g.groups * parts)


def _variant(name, reductions, whole):
    precision, tile = CONFIGURATIONS[name]

    def of_rows(t):
        return forward_grid(t, tile)

    def of_pixels(t):
        return d_x_grid(t, tile)

    def of_weights(t):
        g = t.geometry
        return tiles(g.patch, tile.rows) * tiles(g.share, tile.columns), g.groups * (1 if whole else chunks(g))

    def cost_of(layer, t, direction, capability):
        g, price = t.geometry, price_of(tile, capability)
        if direction == "forward":
            return forward_cost(g, price)
        sums = 0 if whole or tile.unit == 4 else sum_seconds(card_of(capability), chunks(g) * t.weight.size)
        return backward_cost(g, price, whole) + sums

    biased, unbiased = make_forward(precision, tile)
    chunk, at_once = make_d_weight(precision, tile)
    d_weight = (at_once, name, "d_weight") if whole else (chunk, name, "partials")
    kernels = (
        marked(forward, biased, name, "y", of_rows, tile.threads, when={"bias": True}),
        marked(forward, unbiased, name, "y", of_rows, tile.threads, when={"bias": False}),
        marked(backward, make_d_x(precision, tile), name, "d_x", of_pixels, tile.threads),
        marked(backward, *d_weight, of_weights, tile.threads),
        *reductions,
    )
    if name in STORED:
        return Variant(name, kernels, supports_stored, workspace, scalars, cost_of, BOUNDS["bf16"])
    return Variant(name, kernels, supports, workspace, scalars, cost_of, BOUNDS.get(precision))


CONV = {name: _variant(name, column_sums.KERNELS, whole=False) for name in CONFIGURATIONS}
"""A convolution's, by name; the weight gradients of chunks of the batch are summed in turn."""
DENSE = {name: _variant(name, column_sums.BIAS, whole=True) for name in CONFIGURATIONS}
"""A dense layer's, whose weight gradient is one product."""
