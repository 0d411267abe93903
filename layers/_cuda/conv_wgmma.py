"""Convolution by Hopper's matrix instruction: kernels as the passes of variants such as ``tf32_wgmma_128x128``.

The gradient of the weights would need operands in terms, which the instruction takes of 16 bits only: it is left to
the kernels of netspec.layers._cuda.conv_mma.
"""

from dataclasses import replace

from netspec.layers._cuda import conv_mma as mma
from netspec.layers._cuda.mma_block_tile import THREADS
from netspec.layers._cuda.mma_kernels import make_d_x
from netspec.layers._cuda.wgmma_block_tile import BOUND, TILES
from netspec.layers._cuda.wgmma_kernels import make_forward, pack_grid, pack_wgmma, packing
from netspec.plugin import Workspace, backward, forward

VARIANTS = {f"tf32_wgmma_{tile}": tile for tile in TILES}
"""Tiles by variant."""
BOUNDS_OF = dict.fromkeys(VARIANTS, BOUND)
"""Error bounds by variant."""
NEEDS = dict.fromkeys(VARIANTS, (9, 0))
"""The only GPUs that have the instruction."""
_D_WEIGHT = "tf32_128x128"


def passes(others, kernels):
    """All variants' kernels by name, for a layer class's body, among whose ``kernels`` those of mma.passes are."""
    found = {}
    d_weight = kernels[f"d_weight_chunk_{_D_WEIGHT}_{_D_WEIGHT}"]
    for variant, tile in VARIANTS.items():
        for kernel in (*_of_tile(variant, tile), d_weight, *others):
            found[f"{kernel.function.__name__}_of_{variant}"] = replace(kernel, variant=variant)
    return found


def _of_tile(variant, tile):
    def rows_grid(t):
        return mma.rows_grid(t.geometry, tile)

    def pixels_grid(t):
        return mma.pixels_grid(t.geometry, tile)

    def mark(direction, function, writes, grid, **options):
        if function is not pack_wgmma:
            function.__name__ = f"{function.__name__}_{variant}"
        options |= {"threads": THREADS, "variant": variant, "linear": True}
        return direction("cuda", over=writes, writes=writes, grid=grid, **options)(function)

    biased, unbiased = make_forward(tile)
    yield mark(forward, pack_wgmma, "packed", pack_grid)
    yield mark(forward, biased, "y", rows_grid, when={"bias": True})
    yield mark(forward, unbiased, "y", rows_grid, when={"bias": False})
    yield mark(backward, make_d_x("tf32", tile), "d_x", pixels_grid)


def workspace(t, direction):
    """Transposed weights, and the weight gradients of chunks."""
    if direction == "backward":
        return mma.workspace(t, direction)
    lines, terms = packing(t.geometry)
    return {"packed": Workspace((t.geometry.groups * lines, terms), t.x.dtype)}


def scalars(geometry):
    """What the kernels take beside tensors and the numbers of mma.scalars."""
    return {"packing": packing(geometry)}
