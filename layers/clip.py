"""Numbers between two bounds: the rectifier of small nets that ends at 6 (Krizhevsky 2010; Howard et al. 2017)."""

from netspec.plugin import Elementwise, LayerError, number, register


@register("clip")
class Clip(Elementwise):
    """y = min(max(x, low), high)

    PyTorch's ReLU6, unless told otherwise; with low: -1, high: 1 its Hardtanh. The gradient is 0 at the bounds too.
    """

    attrs = {
        "low": number("The least that y is.", default=0.0),
        "high": number("The most that y is.", default=6.0),
    }
    kinks = "at low and high"

    def outputs(self, x):
        if not self.attrs.low < self.attrs.high:
            raise LayerError(f"nothing lies between {self.attrs.low} and {self.attrs.high}", attr="high")
        return super().outputs(x)

    def onnx(self, nodes, t, x):
        """Clip."""
        return nodes.add("Clip", x, nodes.constant(self.attrs.low, "low"), nodes.constant(self.attrs.high, "high"))

    def torch(self, code, t, x):
        """F.relu6, or F.hardtanh."""
        low, high = self.attrs.low, self.attrs.high
        return f"F.relu6({x})" if (low, high) == (0, 6) else f"F.hardtanh({x}, {low!r}, {high!r})"

    def forward(x, low, high):
        return min(max(x, low), high)

    def backward(y, dy, low, high):
        return dy if low < y < high else y - y  # which is 0, or NaN
