"""Leaky rectifier: a small slope where the rectifier is flat (Maas, Hannun and Ng 2013)."""

from netspec.plugin import Elementwise, number, register


@register("leaky_relu")
class LeakyReLU(Elementwise):
    """y = x if x > 0 else slope * x"""

    attrs = {"slope": number("Slope for negative x.", default=0.01, above=0)}

    def onnx(self, nodes, t, x):
        """LeakyRelu."""
        return nodes.add("LeakyRelu", x, alpha=self.attrs.slope)

    def torch(self, code, t, x):
        """F.leaky_relu."""
        return f"F.leaky_relu({x}, {self.attrs.slope!r})"

    def forward(x, slope):
        return x if x > 0 else slope * x

    def backward(y, dy, slope):
        return dy if y > 0 else slope * dy
