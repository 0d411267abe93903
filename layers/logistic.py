"""Logistic function, also called sigmoid."""

import math

from netspec.plugin import Elementwise, register


@register("logistic")
class Logistic(Elementwise):
    """y = 1 / (1 + exp(-x))"""

    def onnx(self, nodes, t, x):
        """Sigmoid."""
        return nodes.add("Sigmoid", x)

    def torch(self, code, t, x):
        """torch.sigmoid."""
        return f"torch.sigmoid({x})"

    def forward(x):
        return 1 / (1 + math.exp(-x))

    def backward(y, dy):
        return dy * y * (1 - y)
