"""Rows of length one (L2 normalisation): what the layer is in a line, and where it is from (authors and year)."""

import math

from netspec.plugin import Rowwise, number, per_element, per_row, register


def length_of(squares, epsilon):
    """Of a row, from the sum of its squares."""
    return math.sqrt(squares + epsilon)


@register("my_layer")
class MyLayer(Rowwise):
    """y = x / length, where length = sqrt(sum(x * x) + epsilon), over the channels of each pixel"""

    attrs = {"epsilon": number("Added to the sum of squares.", default=1e-6, above=0)}
    examples = ({"attrs": {}, "inputs": [(2, 3, 2, 5)]}, {"attrs": {"epsilon": 0.1}, "inputs": [(3, 300)]})

    # Functions of single numbers, without self: compiled for CPUs and for GPUs, in the order in which they stand.
    # per_row: the value is summed along each row, the channels of a pixel, in an order that any team of threads keeps.
    # ``gives`` names the sum, or what ``finish`` makes of it: a number of the row, which functions below may ask for,
    # those of backward too.

    @per_row("forward", gives="length", finish=length_of, numbers=["epsilon"])
    def squares(x):
        return x * x

    # per_element: the value for each element of what ``writes`` names.

    @per_element("forward", writes="y")
    def divide(x, length):
        return x / length

    @per_row("backward", gives="along")
    def products(y, dy):
        return y * dy

    @per_element("backward", writes="d_x")
    def d_x(y, dy, length, along):
        return (dy - along * y) / length
