"""The gradient of the weights as variants by wgmma and TMA take it: kernels, workspace, scalars and cost."""

from netspec.layers._cuda import column_sums
from netspec.layers._cuda.mma_variants import marked
from netspec.layers._cuda.tma_d_weight import make_d_weight, make_d_weight_chunk
from netspec.layers._cuda.tma_pipeline import THREADS
from netspec.layers._cuda.tma_weight_tiles import (
    GradientTile,
    bias_parts,
    chunks,
    d_weight_grid,
    d_weight_maps,
    d_weight_seconds,
    gradient_ring,
    weight_sizes,
)
from netspec.plugin import Workspace, backward


def marked_gradients(functions, tile, name, writes, grid, maps):
    """The kernels of a gradient with that of the bias, and without; ``grid`` and ``maps`` are functions of tensors."""
    options = {"maps": maps, "shared": gradient_ring(tile).shared}
    for function, also in zip(functions, (("bias_partials",), ()), strict=True):
        yield marked(backward, function, name, writes, grid, THREADS, also, when={"bias": bool(also)}, **options)


def _kernels(make, columns, writes, whole):
    tile, name = GradientTile(columns), f"bf16_wgmma_{columns}"

    def grid(t):
        return d_weight_grid(t.geometry, tile, whole)

    def maps(t):
        return d_weight_maps(t.geometry, tile, not whole)

    return tuple(marked_gradients(make(tile), tile, name, writes, grid, maps))


def conv_kernels(columns):
    """A convolution's, which sums chunks of positions apart, and then the chunks."""
    chunk = _kernels(make_d_weight_chunk, columns, "partials", False)
    return *chunk, column_sums.d_weight_sum_cuda, column_sums.d_bias_sum_cuda


def dense_kernels(columns):
    """A dense layer's, all the batch at once."""
    return *_kernels(make_d_weight, columns, "d_weight", True), column_sums.d_bias_sum_cuda


def bias_workspace(g, columns, count):
    """The bias's gradients of so many chunks, each in parts."""
    return {"bias_partials": Workspace((count * bias_parts(columns), g.filters), "float32")}


def conv_workspace(t, columns):
    """The gradients of chunks."""
    count = chunks(t.geometry, GradientTile(columns))
    partials = Workspace((count, t.weight.size), "float32")
    return {"partials": partials, **bias_workspace(t.geometry, columns, count)}


def dense_workspace(t, columns):
    """The bias's gradients."""
    return bias_workspace(t.geometry, columns, 1)


def scalars(layer, t):
    """What the kernels take beside tensors."""
    return {"weight_sizes": weight_sizes(t.geometry)}


def seconds(g, columns, whole=False):
    """What the gradient takes on an H100, a guess; ``whole``: a dense layer's."""
    return d_weight_seconds(g, GradientTile(columns), whole)
