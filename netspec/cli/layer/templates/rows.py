"""Normalisation by the root mean square of each pixel's channels: what the layer is in a line, and where it is from."""

import math

from netspec.plugin import Rowwise, integer, number, per_element, per_row, register


def inverse_root(squares, width, epsilon):
    """What a row's sum of squares becomes: ``width`` is how many elements a row has."""
    return 1 / math.sqrt(squares / width + epsilon)


def mean(total, width):
    """The mean of a row's sum."""
    return total / width


@register("my_layer")
class MyLayer(Rowwise):
    """y = x / sqrt(mean(x^2) + epsilon), with the mean over the channels of a pixel"""

    attrs = {
        "epsilon": number("Added to the mean of squares.", default=1e-5, above=0),
        # With this attribute each part of the channels is a row of its own, so that each device can have some of them.
        "groups": integer("Parts of the channels that do not see each other.", default=None, minimum=1),
    }
    examples = ({"attrs": {}, "inputs": [(2, 3, 2, 9)]}, {"attrs": {"groups": 2}, "inputs": [(3, 12)]})

    # Functions of single numbers, for CPUs and GPUs. Those that follow one another are one kernel, which has a row at
    # hand. A sum of each row is a number that the functions below may ask for; what backward asks for is saved.

    @per_row("forward", gives="scale", finish=inverse_root, numbers=["epsilon"])
    def squares(x):
        return x * x

    @per_element("forward", writes="y")
    def normalise(x, scale):
        return x * scale

    @per_row("backward", gives="share", finish=mean)
    def products(x, dy, scale):
        return dy * x * scale

    @per_element("backward", writes="d_x")
    def slope(x, dy, scale, share):
        return scale * (dy - x * scale * share)
