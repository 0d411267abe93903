"""Exponential linear unit (Clevert, Unterthiner and Hochreiter 2016)."""

import math

from netspec.plugin import Elementwise, number, register


@register("elu")
class ELU(Elementwise):
    """y = x if x > 0 else alpha * (exp(x) - 1)"""

    attrs = {"alpha": number("Minus the limit for small x.", default=1.0, above=0)}

    def onnx(self, nodes, t, x):
        """Elu."""
        return nodes.add("Elu", x, alpha=self.attrs.alpha)

    def torch(self, code, t, x):
        """F.elu."""
        return f"F.elu({x}, {self.attrs.alpha!r})"

    def forward(x, alpha):
        return x if x > 0 else alpha * math.expm1(x)

    def backward(y, dy, alpha):
        return dy if y > 0 else dy * (y + alpha)
