"""Convolution by Hopper's matrix instruction: variants such as ``tf32_wgmma_128x128``.

The gradient of the weights would need operands in terms (MN-major), which the instruction takes of 16 bits only: it is
left to the kernels of netspec.layers._cuda.mma_variants.
"""

from netspec.layers._cuda import column_sums, mma_variants
from netspec.layers._cuda.mma_block_tile import THREADS
from netspec.layers._cuda.mma_kernels import make_d_x
from netspec.layers._cuda.mma_variants import d_x_grid, forward_grid, marked
from netspec.layers._cuda.wgmma_block_tile import BOUND, TILES
from netspec.layers._cuda.wgmma_kernels import make_forward, pack_grid, pack_wgmma, packing
from netspec.plugin import Variant, Workspace, backward, forward

_PACK = forward("cuda", over="packed", writes="packed", grid=pack_grid, threads=THREADS, linear=True)(pack_wgmma)
_D_WEIGHT = next(
    kernel for kernel in mma_variants.CONV["tf32_128x128"].kernels if kernel.writes == ("partials",)
)


def _workspace(layer, t, direction):
    """Transposed weights, and the gradients of chunks."""
    if direction == "backward":
        return mma_variants.workspace(layer, t, direction)
    lines, terms = packing(t.geometry)
    return {"packed": Workspace((t.geometry.groups * lines, terms), t.x.dtype)}


def _scalars(layer, t):
    return {**mma_variants.scalars(layer, t), "packing": packing(t.geometry)}


def _variant(name, tile):
    def of_rows(t):
        return forward_grid(t, tile)

    def of_pixels(t):
        return d_x_grid(t, tile)

    biased, unbiased = make_forward(tile)
    kernels = (
        _PACK,
        marked(forward, biased, name, "y", of_rows, THREADS, when={"bias": True}),
        marked(forward, unbiased, name, "y", of_rows, THREADS, when={"bias": False}),
        marked(backward, make_d_x("tf32", tile, dilated=False), name, "d_x", of_pixels, THREADS),
        _D_WEIGHT,
        *column_sums.KERNELS,
    )

    def supports(layer, t):
        return mma_variants.supports(layer, t) and t.geometry.dilation == (1, 1)

    return Variant(name, kernels, supports, _workspace, _scalars, bound=BOUND, capability=(9, 0))


VARIANTS = tuple(_variant(f"tf32_wgmma_{tile}", tile) for tile in TILES)
"""The only GPUs that have the instruction are those of compute capability 9.0."""
