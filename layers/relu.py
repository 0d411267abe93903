"""Rectified linear unit (Nair and Hinton 2010; AlexNet, section 3.1)."""

from netspec.plugin import Elementwise, register


@register("relu")
class ReLU(Elementwise):
    """y = max(x, 0)"""

    def onnx(self, nodes, t, x):
        """Relu."""
        return nodes.add("Relu", x)

    def torch(self, code, t, x):
        """F.relu."""
        return f"F.relu({x})"

    def forward(x):
        return max(x, 0)

    def backward(y, dy):
        return dy if y > 0 else y  # which is 0, or NaN
