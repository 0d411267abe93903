"""Sigmoid-weighted linear unit, also called swish (Elfwing, Uchibe and Doya 2018; Ramachandran et al. 2017)."""

import math

from netspec.plugin import Elementwise, register


@register("silu")
class SiLU(Elementwise):
    """y = x / (1 + exp(-x))"""

    def onnx(self, nodes, t, x):
        """x times its Sigmoid."""
        return nodes.add("Mul", x, nodes.add("Sigmoid", x))

    def torch(self, code, t, x):
        """F.silu."""
        return f"F.silu({x})"

    def forward(x):
        return x / (1 + math.exp(-x))

    def backward(x, dy):
        share = 1 / (1 + math.exp(-x))
        return dy * share * (1 + x * (1 - share))
