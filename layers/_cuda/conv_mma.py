"""Convolution and dense layers on tensor cores: kernels as the passes of variants such as ``tf32_128x64``."""

from dataclasses import replace

from netspec.layers._cuda.column_sums import chunk_rows
from netspec.layers._cuda.mma_block_tile import BOUNDS, PROCESSORS, VARIANTS, cost, tiles
from netspec.layers._cuda.mma_kernels import make_d_weight, make_d_x, make_forward
from netspec.plugin import Workspace, backward, forward

__all__ = ["BOUNDS_OF", "VARIANTS", "chunks", "passes", "ranked", "time_of", "workspace"]
BOUNDS_OF = {variant: BOUNDS[precision] for variant, (precision, _) in VARIANTS.items()}
"""Error bounds by variant."""
_MOST_CHUNKS = 128
_OF_IMAGES = 4
"""Channels up to which a layer is taken to read the network's images, whose gradient nobody wants."""


def passes(others, whole=False):
    """All variants' kernels by name, for a layer class's body.

    ``others`` are passes that follow, of every variant. The weight gradient is summed over the batch at once where it
    is ``whole``, else in chunks, which ``others`` sum. The layer's tensors must have its Geometry as ``geometry``.
    """
    found = {}
    for variant, (precision, tile) in VARIANTS.items():
        kernels = [*_of_tile(variant, precision, tile, whole), *(replace(k, variant=variant) for k in others)]
        found |= {f"{kernel.function.__name__}_{variant}": kernel for kernel in kernels}
    return found


def _of_tile(variant, precision, tile, whole):
    def of_rows(t):
        return rows_grid(t.geometry, tile)

    def of_pixels(t):
        return pixels_grid(t.geometry, tile)

    def weights_grid(t):
        g = t.geometry
        return tiles(g.patch, tile.rows) * tiles(g.share, tile.columns), g.groups * (1 if whole else chunks(g))

    def mark(direction, function, writes, grid, **options):
        function.__name__ = f"{function.__name__}_{variant}"
        options |= {"threads": tile.threads, "variant": variant, "linear": True}
        return direction("cuda", over=writes, writes=writes, grid=grid, **options)(function)

    biased, unbiased = make_forward(precision, tile)
    chunk, at_once = make_d_weight(precision, tile)
    yield mark(forward, biased, "y", of_rows, when={"bias": True})
    yield mark(forward, unbiased, "y", of_rows, when={"bias": False})
    yield mark(backward, make_d_x(precision, tile), "d_x", of_pixels)
    yield mark(backward, *((at_once, "d_weight") if whole else (chunk, "partials")), weights_grid)


def rows_grid(g, tile):
    """Blocks of a forward kernel."""
    count = g.batch * g.out[0] * g.out[1]
    return tiles(count, tile.rows) * tiles(g.share, tile.columns), g.groups


def pixels_grid(g, tile):
    """Blocks of a kernel of the gradient with respect to the image."""
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


def workspace(t, direction):
    """The weight gradients of chunks."""
    if direction == "forward":
        return {}
    return {"partials": Workspace((chunks(t.geometry), t.weight.size), t.x.dtype)}


def scalars(geometry):
    """What the kernels take beside tensors."""
    pixels = images_at_once(geometry) * geometry.out[0] * geometry.out[1]
    rows = chunk_rows(geometry.batch * geometry.out[0] * geometry.out[1], geometry.filters)
    return {**geometry.scalars(), "pixels_at_once": pixels, "bias_rows": rows}


def supports(t):
    """Whether the kernels can run these shapes and this dtype."""
    return t.x.dtype == "float32" and t.geometry.fits


def ranked(variants, geometry, direction, whole=False):
    """The variants in the order in which they are likely to be fast; other precisions after tf32, others last."""
    own = [variant for variant in variants if variant in VARIANTS]
    order = list(BOUNDS)

    def key(variant):
        return order.index(VARIANTS[variant][0]), time_of(variant, geometry, direction, whole)

    return (*sorted(own, key=key), *(variant for variant in variants if variant not in VARIANTS))


def time_of(variant, g, direction, whole):
    """How long its kernels are likely to take, see cost."""
    tile = VARIANTS[variant][1]
    if direction == "forward":
        return cost(tile, g.batch * g.out[0] * g.out[1], g.share, g.patch, g.groups)
    places, terms = g.stride[0] * g.stride[1], g.taps[0] * g.taps[1] * g.share
    d_x = cost(tile, g.batch * g.cells[0] * g.cells[1], g.depth, terms, g.groups * places)
    if not whole and g.channels <= _OF_IMAGES:
        d_x = 0
    parts = 1 if whole else chunks(g)
    pixels = g.batch * g.out[0] * g.out[1] / parts
    return d_x + cost(tile, g.patch, g.share, pixels, g.groups * parts)
