"""Hard swish: silu of straight lines (Howard et al. 2019, MobileNetV3)."""

from netspec.plugin import Elementwise, register


@register("hardswish")
class HardSwish(Elementwise):
    """y = x * min(max(x / 6 + 1 / 2, 0), 1)"""

    kinks = "at -3 and 3"

    def onnx(self, nodes, t, x):
        """HardSwish."""
        return nodes.add("HardSwish", x)

    def torch(self, code, t, x):
        """F.hardswish."""
        return f"F.hardswish({x})"

    def forward(x):
        return x * min(max(x / 6 + 0.5, 0), 1)

    def backward(x, dy):
        slope = x / 3 + 0.5
        inner = dy * slope if x < 3 else dy
        return inner if x > -3 else dy * 0
