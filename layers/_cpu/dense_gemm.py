"""Dense layers on CPUs: matrix products by BLAS, and the passes for the bias that every variant ends with."""

from math import prod

from netspec.layers._dense_sizes import Sizes
from netspec.plugin import Variant, backward, forward

UNITS, ROWS = 256, 512
"""Units of one block of the forward product, and rows of the weights in one block of the backward ones."""


def row_block(t):
    """Weights of one block: whole rows."""
    return ROWS * t.y.shape[1]


def supports(layer, t):
    """Whether a group's channels lie side by side, as they must for a product."""
    return t.x.shape[-1] == t.weight.shape[-2] or prod(t.weight.shape[:-2]) == 1


@forward("cpu", over="y", axes=1, block=UNITS, writes="y", host=True)
def forward_gemm(ops, start, stop, x, weight, y, sizes: Sizes):
    inputs, weights = x.reshape(sizes.batch, -1), weight.reshape(-1, sizes.units)
    depth, share = len(weights), sizes.units // sizes.groups
    for g in range(start // share, -(-stop // share)):
        part = slice(max(start, g * share), min(stop, (g + 1) * share))
        ops.gemm(inputs[:, g * depth : (g + 1) * depth], weights[:, part], y[:, part])


@backward("cpu", over="weight", block=row_block, writes="d_x", host=True)
def d_x_gemm(ops, start, stop, weight, dy, d_x, sizes: Sizes):
    first, last, share = start // sizes.units, stop // sizes.units, sizes.units // sizes.groups
    weights, gradients = weight.reshape(-1, sizes.units), dy.reshape(sizes.batch, sizes.units)
    for g in range(sizes.groups):
        part, place = slice(g * share, (g + 1) * share), slice(g * len(weights) + first, g * len(weights) + last)
        target = d_x.reshape(sizes.batch, -1)[:, place]
        ops.gemm(gradients[:, part], weights[first:last, part], target, trans_b=True)


@backward("cpu", over="d_weight", block=row_block, writes="d_weight", host=True)
def d_weight_gemm(ops, start, stop, x, dy, d_weight, sizes: Sizes):
    first, last, share = start // sizes.units, stop // sizes.units, sizes.units // sizes.groups
    result, inputs = d_weight.reshape(-1, sizes.units), x.reshape(sizes.batch, -1)
    for g in range(sizes.groups):
        part, place = slice(g * share, (g + 1) * share), slice(g * len(result) + first, g * len(result) + last)
        gradients = dy.reshape(sizes.batch, sizes.units)[:, part]
        ops.gemm(inputs[:, place], gradients, result[first:last, part], trans_a=True)


@forward("cpu", over="y", axes=0, block=16, writes="y", when={"bias": True})
def add_bias(start, stop, bias, y):
    for n in range(start, stop):
        for u in range(y.shape[1]):
            y[n, u] += bias[u]


@backward("cpu", over="d_bias", block=256, writes="d_bias", when={"bias": True})
def d_bias_cpu(start, stop, dy, d_bias):
    d_bias[start:stop] = 0
    for n in range(dy.shape[0]):
        for u in range(start, stop):
            d_bias[u] += dy[n, u]


BIAS = (add_bias, d_bias_cpu)
VARIANT = Variant("gemm", kernels=(forward_gemm, d_x_gemm, d_weight_gemm, *BIAS), supports=supports)
