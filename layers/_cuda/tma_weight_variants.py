"""The gradient of the weights as variants by wgmma and TMA take it: kernels, workspace, scalars and cost."""

from netspec.layers._cuda import column_sums
from netspec.layers._cuda.mma_variants import marked
from netspec.layers._cuda.tma_d_weight import make_d_weight, make_d_weight_chunk
from netspec.layers._cuda.tma_pipeline import THREADS
from netspec.layers._cuda.tma_weight_tiles import (
    GradientTile,
    chunks,
    d_weight_grid,
    d_weight_maps,
    d_weight_seconds,
    gradient_ring,
    weight_sizes,
)
from netspec.plugin import Workspace, backward


def _kernel(make, columns, writes, whole):
    tile = GradientTile(columns)
    return marked(
        backward,
        make(tile),
        f"bf16_wgmma_{columns}",
        writes,
        lambda t: d_weight_grid(t.geometry, tile, whole),
        THREADS,
        shared=gradient_ring(tile).shared,
        maps=lambda t: d_weight_maps(t.geometry, tile, not whole),
    )


def conv_kernels(columns):
    """A convolution's, which sums chunks of positions apart, and then the chunks."""
    return _kernel(make_d_weight_chunk, columns, "partials", False), *column_sums.KERNELS


def dense_kernels(columns):
    """A dense layer's, all the batch at once."""
    return _kernel(make_d_weight, columns, "d_weight", True), *column_sums.BIAS


def conv_workspace(t, columns):
    """The weight gradients of chunks, and the bias's."""
    count = chunks(t.geometry, GradientTile(columns))
    return {"partials": Workspace((count, t.weight.size), "float32"), **column_sums.workspace(t)}


def scalars(layer, t):
    """What the kernels take beside tensors."""
    return {"weight_sizes": weight_sizes(t.geometry), **column_sums.scalars(layer, t)}


def seconds(g, columns, whole=False):
    """What the gradient takes on an H100, a guess; ``whole``: a dense layer's."""
    return d_weight_seconds(g, GradientTile(columns), whole)
