"""Softmax over the channels of each pixel: a maximum, a sum and a value for every element, in one kernel."""

import math

from netspec.plugin import Rowwise, per_element, per_row, register


@register("row_softmax")
class RowSoftmax(Rowwise):
    """y = exp(x - max(x)) / sum(exp(x - max(x))) along the last axis"""

    examples = ({"attrs": {}, "inputs": [(2, 3, 2, 9)]}, {"attrs": {}, "inputs": [(3, 200)]})

    @per_row("forward", gives="highest", by="max")
    def largest(x):
        return x

    @per_row("forward", gives="total")
    def exponentials(x, highest):
        return math.exp(x - highest)

    @per_element("forward", writes="y")
    def share(x, highest, total):
        return math.exp(x - highest) / total

    @per_row("backward", gives="mean")
    def weighted(y, dy):
        return y * dy

    @per_element("backward", writes="d_x")
    def d_x(y, dy, mean):
        return y * (dy - mean)
