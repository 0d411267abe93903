"""Squareplus (Barron 2021, arXiv 2112.11687)."""

from netspec.plugin import Elementwise, number, register
from netspec_squareplus._root import root


@register("squareplus")
class Squareplus(Elementwise):
    """y = (x + sqrt(x^2 + b)) / 2"""

    attrs = {"b": number("how wide the bend at 0 is", default=4.0, above=0)}
    examples = ({"attrs": {"b": 1.0}, "inputs": [(2, 3, 3, 4)]},)

    def forward(x, b):
        """The activation."""
        return (x + root(x, b)) / 2

    def backward(x, dy, b):
        """Its derivative, from 0 on the far left to 1 on the far right."""
        return dy * (0.5 + 0.5 * x / root(x, b))
