"""Layer normalisation over the channels of each pixel (Ba, Kiros and Hinton 2016), from outside."""

import math

from netspec.plugin import Param, Rowwise, integer, number, per_channel, per_element, per_row, register


def mean_of(total, width):
    """Of a row's sum."""
    return total / width


def means_of(slopes, shares, width):
    """Of two sums."""
    return slopes / width, shares / width


def rstd_of(squares, width, epsilon):
    """1 / the standard deviation of a row."""
    return 1 / math.sqrt(squares / width + epsilon)


@register("my_layer_norm")
class MyLayerNorm(Rowwise):
    """y = (x - mean) / sqrt(variance + epsilon) * weight[c] + bias[c], for each pixel and each group of its channels"""

    attrs = {
        "epsilon": number("Added to the variance.", default=1e-5),
        "groups": integer("Parts of the channels that do not see each other.", default=None, minimum=1),
    }
    examples = ({"attrs": {}, "inputs": [(2, 3, 2, 9)]}, {"attrs": {"groups": 2, "epsilon": 0.1}, "inputs": [(3, 12)]})

    def params(self, x):
        starts = {"weight": 1.0, "bias": 0.0}
        return {name: Param(x.shape[-1:], {"type": "constant", "value": start}) for name, start in starts.items()}

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
