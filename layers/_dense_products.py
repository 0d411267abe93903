"""What computes a dense layer, and the matrix products of plugins that are like one: all variants, best first."""

from netspec.layers._cpu import bf16_dense, bf16_panels, dense_gemm, dense_gemv, dense_plain
from netspec.layers._cuda import dense_split_k, dense_tiled, mma_variants, tma_dense_variants
from netspec.layers._cuda.implicit_gemm import of_dense
from netspec.plugin import Tensors

VARIANTS = (
    *bf16_panels.VARIANTS,
    *bf16_dense.VARIANTS,
    dense_gemv.VARIANT,
    dense_gemm.VARIANT,
    *mma_variants.DENSE.values(),
    *dense_split_k.VARIANTS,
    *tma_dense_variants.DENSE,
    dense_plain.VARIANT,
    dense_tiled.PLAIN,
)
_OF_PARTS = (
    *("bf16_gemv", "bf16", "gemv", "gemm", "tf32_128x128", "tf32_64x64", "bf16_128x128", "bf16_64x64"),
    *("float32_128x128", "float32_64x64", "bf16_stored_128x128", "bf16_stored_64x64"),
    *("bf16_wgmma_64", "bf16_wgmma_128", "bf16_wgmma_128_split", "bf16_wgmma_256", "plain"),
)
PARTS = tuple(one for one in VARIANTS if one.name in _OF_PARTS)
"""Those of products that are parts of plugins: fewer tiles, each of which is compiled and checked for each plugin."""


def with_geometry(t):
    """Tensors with the sizes of x, weight and y as kernels on tensor cores know them."""
    t.geometry = of_dense(t, t.x.shape[-1] // t.weight.shape[-2])
    return t


def tensors_of(x, weight, y):
    """The tensors of a product that is a part of a layer."""
    roles = {"x": "input", "weight": "parameter", "y": "output"}
    return with_geometry(Tensors(x=x, weight=weight, y=y, inputs=(x,), output_names=("y",), roles=roles))
