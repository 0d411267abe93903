"""Layer normalisation over the channels of each pixel (Ba, Kiros and Hinton 2016)."""

import math

from netspec.plugin import (
    Flops,
    LayerError,
    Param,
    Rowwise,
    integer,
    number,
    per_channel,
    per_element,
    per_row,
    register,
)


def mean_of(total, width):
    """Of a row's sum."""
    return total / width


def means_of(slopes, shares, width):
    """Of two sums."""
    return slopes / width, shares / width


def rstd_of(squares, width, epsilon):
    """1 / the standard deviation of a row."""
    return 1 / math.sqrt(squares / width + epsilon)


@register("layer_norm")
class LayerNorm(Rowwise):
    """y = (x - mean) / sqrt(variance + epsilon) * weight[c] + bias[c]

    Mean and variance are those of the channels of one pixel, or of one row (N, C): PyTorch's LayerNorm of shape (C).
    With groups each part of the channels has its own.
    """

    attrs = {
        "epsilon": number("Added to the variance.", default=1e-5, above=0),
        "groups": integer("Parts of the channels that do not see each other.", default=None, minimum=1),
    }
    examples = (
        {"attrs": {}, "inputs": [(2, 3, 2, 9)]},
        {"attrs": {"groups": 2, "epsilon": 0.1}, "inputs": [(3, 12)]},
        {"attrs": {}, "inputs": [(4, 200)]},
    )

    def outputs(self, x):
        y = super().outputs(x)
        if self.rows_of(x).depth == 1:
            raise LayerError("each group is one element, which has no variance", "take fewer groups", "groups")
        return y

    def params(self, x):
        starts = {"weight": 1.0, "bias": 0.0}
        return {name: Param(x.shape[-1:], {"type": "constant", "value": one}, axis=0) for name, one in starts.items()}

    def flops(self, t):
        return Flops(forward=8 * t.x.size, d_inputs=9 * t.x.size, d_params=3 * t.x.size)

    def onnx(self, nodes, t, x):
        """LayerNormalization of channels last, each group's for itself."""
        rows, last = t.rows, nodes.channels_last(x, t.x)
        weight, bias = (nodes.constant(nodes.params[name], name) for name in ("weight", "bias"))
        if rows.groups == 1:
            y = nodes.add("LayerNormalization", last, weight, bias, axis=-1, epsilon=self.attrs.epsilon)
            return nodes.channels_first(y, t.y)
        kept = [0] * (len(t.x.shape) - 1)
        apart = nodes.add("Reshape", last, nodes.constant([*kept, rows.groups, rows.depth], "groups"))
        ones = nodes.constant([1.0] * rows.depth)
        normal = nodes.add("LayerNormalization", apart, ones, axis=-1, epsilon=self.attrs.epsilon)
        whole = nodes.add("Reshape", normal, nodes.add("Shape", last))
        return nodes.channels_first(nodes.add("Add", nodes.add("Mul", whole, weight), bias), t.y)

    def torch(self, code, t, x):
        """nn.LayerNorm of channels last; with groups nn.GroupNorm of each pixel."""
        code.holds("weight")
        code.holds("bias")
        width, epsilon = t.x.shape[-1], self.attrs.epsilon
        last = code.value(f"{code.layer}-last", code.channels_last(x, t.x))
        if t.rows.groups == 1:
            return code.channels_first(f"{code.module('nn.LayerNorm', width, eps=epsilon)}({last})", t.y)
        norm = code.module("nn.GroupNorm", t.rows.groups, width, eps=epsilon)
        return code.channels_first(f"{norm}({last}.reshape(-1, {width})).view({last}.shape)", t.y)

    @per_row("forward", gives="mean", finish=mean_of)
    def total(x):
        return x

    @per_row("forward", gives="rstd", finish=rstd_of, numbers=["epsilon"])
    def squares(x, mean):
        return (x - mean) * (x - mean)

    @per_element("forward", writes="y", channels=["weight", "bias"])
    def normalise(x, mean, rstd, weight, bias):
        return (x - mean) * rstd * weight + bias

    @per_row("backward", gives=("slope", "share"), finish=means_of, sums=2, channels=["weight"])
    def sums(x, dy, mean, rstd, weight):
        return dy * weight, dy * weight * ((x - mean) * rstd)

    @per_element("backward", writes="d_x", channels=["weight"])
    def d_x(x, dy, mean, rstd, weight, slope, share):
        return rstd * (dy * weight - slope - (x - mean) * rstd * share)

    @per_channel("backward", writes=("d_weight", "d_bias"), rows=["mean", "rstd"])
    def d_numbers(x, dy, mean, rstd):
        return dy * ((x - mean) * rstd), dy
