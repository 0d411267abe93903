"""Fully connected layer, over images as they are or over vectors."""

from dataclasses import replace
from math import prod

from netspec.layers._cpu import dense_gemv as gemv
from netspec.layers._cuda import column_sums
from netspec.layers._cuda import conv_mma as mma
from netspec.layers._cuda import dense_split_k as split
from netspec.layers._cuda import dense_tiled as on_cuda
from netspec.layers._cuda.implicit_gemm_shapes import of_dense
from netspec.layers._window import image_groups, initial_bias
from netspec.plugin import (
    Flops,
    Layer,
    LayerError,
    Param,
    Tensor,
    backward,
    boolean,
    forward,
    initialiser,
    integer,
    number,
    register,
)

UNITS, ROWS = 256, 512
"""Units of one block of the forward product, and rows of the weights in one block of the backward ones."""


def _row_block(t):
    return ROWS * t.y.shape[1]


@register("dense")
class Dense(Layer):
    """y[n, u] = bias[u] + the sum over h, w, c of x[n, h, w, c] weight[h, w, c, u].

    x is (N, H, W, C) or (N, C), y (N, units), weight (H, W, C / groups, units) or (C / groups, units), bias (units).
    Group g computes the g-th share of the units from the g-th share of the channels.
    """

    attrs = {
        "units": integer("Outputs.", minimum=1),
        "groups": integer("Channels and units are cut in as many parts.", default=None, minimum=1),
        "bias": boolean("Whether each unit adds a bias.", default=True),
        "init": initialiser("How the weights start.", default={"type": "gaussian", "std": 0.01}),
        "bias_init": number("Where the biases start.", default=0.0),
    }
    divided = ("units", "groups")
    mixes_channels = True
    prefer = {"cpu": ("gemv", "gemm"), "cuda": (*mma.VARIANTS, *split.VARIANTS)}
    bounds = {**mma.BOUNDS_OF, **split.BOUNDS_OF}
    examples = (
        {"attrs": {"units": 5}, "inputs": [(3, 2, 3, 4)]},
        {"attrs": {"units": 6, "groups": 2}, "inputs": [(3, 2, 2, 4)]},
        {"attrs": {"units": 4, "groups": 2, "bias": False}, "inputs": [(4, 4)]},
        {"attrs": {"units": 3}, "inputs": [(2, 5)]},
        {"attrs": {"units": 4}, "inputs": [(2, 70)]},
        {"attrs": {"units": 2, "bias": False}, "inputs": [(1, 51)]},
    )

    def outputs(self, x: Tensor) -> Tensor:
        """(N, units)."""
        if len(x.shape) not in (2, 4):
            raise LayerError(f"the input must be (batch, height, width, channels) or (batch, channels), got {x.shape}")
        return Tensor((x.shape[0], self.attrs.units), x.dtype)

    def params(self, x: Tensor) -> dict[str, Param]:
        """weight (H, W, C / groups, units), or (C / groups, units) for vectors, and bias (units)."""
        units = self.attrs.units
        depth = image_groups(x.shape[-1], units, self._groups, "units")
        shape = (*x.shape[1:-1], depth, units)
        fans = {"fan_in": prod(shape[:-1]), "fan_out": units // self._groups}
        result = {"weight": Param(shape, self.attrs.init, axis=len(shape) - 1, **fans)}
        if self.attrs.bias:
            result["bias"] = Param((units,), initial_bias(self.attrs), axis=0, **fans)
        return result

    def scalars(self, t, index=None):
        """Sizes, which kernels cannot read off tensors that are given flat."""
        *pixels, depth, units = t.weight.shape
        return {
            "batch": t.x.shape[0],
            "pixels": prod(pixels),
            "depth": depth,
            "units": units,
            "groups": self._groups,
            **mma.scalars(t.geometry),
            **split.scalars(t.geometry),
        }

    def tensors(self, inputs):
        """With them the sizes as kernels on tensor cores know them."""
        t = super().tensors(inputs)
        t.geometry = of_dense(t, self._groups)
        return t

    def workspace(self, t, variant, direction):
        """Sums of parts of the weights, where they are read part by part, of parts of the terms, or of dy."""
        if direction == "backward":
            return column_sums.workspace(t)
        if variant in split.VARIANTS:
            return split.workspace(t)
        return gemv.workspace(t) if variant == "gemv" else {}

    def supports(self, t, variant):
        """A group's channels must lie side by side for products; few rows are the weights' business alone."""
        if variant in split.VARIANTS:
            return split.supports(t)
        if variant in mma.VARIANTS:
            return mma.supports(t)
        if variant == "gemv" and t.x.shape[0] > gemv.MOST_IMAGES:
            return False
        return variant == "plain" or self._groups == 1 or prod(t.weight.shape[:-2]) == 1

    def rank(self, t, direction, variants):
        """Tiles of tensor cores by the shapes."""
        return split.ranked(variants, t.geometry, direction)

    def flops(self, t):
        """A multiply-add for each weight in use, in each of the three products."""
        count = 2 * t.x.shape[0] * t.weight.size
        return Flops(count, count, count)

    @property
    def _groups(self) -> int:
        return self.attrs.groups or 1

    # Plain -----------------------------------------------------------------------------------------------------------

    @forward("cpu", over="y", axes=0, writes="y")
    def forward_cpu(start, stop, x, weight, y, batch, pixels, depth, units, groups):
        inputs, weights, share = x.reshape(batch, pixels, -1), weight.reshape(pixels, depth, units), units // groups
        for n in range(start, stop):
            y[n] = 0
            for p in range(pixels):
                for c in range(depth * groups):
                    value, g = inputs[n, p, c], c // depth
                    for u in range(g * share, (g + 1) * share):
                        y[n, u] += value * weights[p, c - g * depth, u]

    @forward("cpu", over="y", axes=0, block=16, writes="y", when={"bias": True})
    def add_bias(start, stop, bias, y):
        for n in range(start, stop):
            for u in range(y.shape[1]):
                y[n, u] += bias[u]

    @backward("cpu", over="d_x", axes=0, writes="d_x")
    def d_x_cpu(start, stop, weight, dy, d_x, batch, pixels, depth, units, groups):
        gradient, weights, share = d_x.reshape(batch, pixels, -1), weight.reshape(pixels, depth, units), units // groups
        for n in range(start, stop):
            for p in range(pixels):
                for c in range(depth * groups):
                    g = c // depth
                    total = 0.0
                    for u in range(g * share, (g + 1) * share):
                        total += dy[n, u] * weights[p, c - g * depth, u]
                    gradient[n, p, c] = total

    @backward("cpu", over="d_weight", block=_row_block, writes="d_weight")
    def d_weight_cpu(start, stop, x, dy, d_weight, batch, pixels, depth, units, groups):
        inputs, gradients, share = x.reshape(batch, pixels, -1), dy.reshape(batch, units), units // groups
        for row in range(start // units, stop // units):
            p, c = row // depth, row % depth
            total = d_weight[row * units : (row + 1) * units]
            total[:] = 0
            for n in range(batch):
                for u in range(units):
                    total[u] += inputs[n, p, u // share * depth + c] * gradients[n, u]

    @backward("cpu", over="d_bias", block=256, writes="d_bias", when={"bias": True})
    def d_bias_cpu(start, stop, dy, d_bias):
        d_bias[start:stop] = 0
        for n in range(dy.shape[0]):
            for u in range(start, stop):
                d_bias[u] += dy[n, u]

    # Matrix products -------------------------------------------------------------------------------------------------

    @forward("cpu", over="y", axes=1, block=UNITS, writes="y", variant="gemm", host=True)
    def forward_gemm(ops, start, stop, x, weight, y, batch, units, groups):
        inputs, weights = x.reshape(batch, -1), weight.reshape(-1, units)
        depth, share = len(weights), units // groups
        for g in range(start // share, -(-stop // share)):
            part = slice(max(start, g * share), min(stop, (g + 1) * share))
            ops.gemm(inputs[:, g * depth : (g + 1) * depth], weights[:, part], y[:, part])

    @backward("cpu", over="weight", block=_row_block, writes="d_x", variant="gemm", host=True)
    def d_x_gemm(ops, start, stop, weight, dy, d_x, batch, units, groups):
        rows, weights = slice(start // units, stop // units), weight.reshape(-1, units)
        gradients, result, depth, share = (
            dy.reshape(batch, units),
            d_x.reshape(batch, -1),
            len(weights),
            units // groups,
        )
        for g in range(groups):
            part, place = slice(g * share, (g + 1) * share), slice(g * depth + rows.start, g * depth + rows.stop)
            ops.gemm(gradients[:, part], weights[rows, part], result[:, place], trans_b=True)

    @backward("cpu", over="d_weight", block=_row_block, writes="d_weight", variant="gemm", host=True)
    def d_weight_gemm(ops, start, stop, x, dy, d_weight, batch, units, groups):
        rows, result = slice(start // units, stop // units), d_weight.reshape(-1, units)
        inputs, gradients, depth, share = x.reshape(batch, -1), dy.reshape(batch, units), len(result), units // groups
        for g in range(groups):
            part, place = slice(g * share, (g + 1) * share), slice(g * depth + rows.start, g * depth + rows.stop)
            ops.gemm(inputs[:, place], gradients[:, part], result[rows, part], trans_a=True)

    add_bias_gemm = forward("cpu", over="y", axes=0, block=16, writes="y", variant="gemm", when={"bias": True})(
        add_bias.function
    )
    d_bias_gemm = backward("cpu", over="d_bias", block=256, writes="d_bias", variant="gemm", when={"bias": True})(
        d_bias_cpu.function
    )

    # Weights read once, for a few rows -------------------------------------------------------------------------------

    forward_gemv, sum_gemv = gemv.forward_gemv, gemv.sum_gemv
    add_bias_gemv, d_x_gemv, d_weight_gemv, d_bias_gemv = (
        replace(kernel, variant="gemv") for kernel in (add_bias_gemm, d_x_gemm, d_weight_gemm, d_bias_gemm)
    )

    # CUDA ------------------------------------------------------------------------------------------------------------

    forward_cuda, forward_unbiased_cuda = on_cuda.forward_cuda, on_cuda.forward_unbiased_cuda
    d_x_cuda, d_weight_cuda = on_cuda.d_x_cuda, on_cuda.d_weight_cuda
    d_bias_chunk_cuda, d_bias_sum_cuda = column_sums.d_bias_chunk_cuda, column_sums.d_bias_sum_cuda

    # Tensor cores ----------------------------------------------------------------------------------------------------

    vars().update(mma.passes((d_bias_chunk_cuda, d_bias_sum_cuda), whole=True))
    vars().update(split.passes(vars()))
