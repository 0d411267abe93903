"""Hyperbolic tangent."""

import math

from netspec.plugin import Elementwise, register


@register("tanh")
class Tanh(Elementwise):
    """y = tanh(x)"""

    def onnx(self, nodes, t, x):
        """Tanh."""
        return nodes.add("Tanh", x)

    def torch(self, code, t, x):
        """torch.tanh."""
        return f"torch.tanh({x})"

    def forward(x):
        return math.tanh(x)

    def backward(y, dy):
        return dy * (1 - y * y)
