"""Gaussian error linear unit, by the error function (Hendrycks and Gimpel 2016)."""

import math

from netspec.plugin import Elementwise, register

ROOT_HALF = math.sqrt(0.5)
DENSITY = 1 / math.sqrt(2 * math.pi)
"""Of the normal distribution at 0."""


@register("gelu")
class GELU(Elementwise):
    """y = x * P(X <= x) for X of the standard normal distribution"""

    def onnx(self, nodes, t, x):
        """x / 2 * (1 + Erf(x / sqrt(2))), as the operator Gelu is younger than the opset."""
        erf = nodes.add("Erf", nodes.add("Mul", x, nodes.constant(ROOT_HALF)))
        twice = nodes.add("Add", erf, nodes.constant(1.0))
        return nodes.add("Mul", nodes.add("Mul", x, nodes.constant(0.5)), twice)

    def torch(self, code, t, x):
        """F.gelu."""
        return f"F.gelu({x})"

    def forward(x):
        return x * (0.5 + 0.5 * math.erf(x * ROOT_HALF))

    def backward(x, dy):
        return dy * (0.5 + 0.5 * math.erf(x * ROOT_HALF) + x * DENSITY * math.exp(-0.5 * x * x))
