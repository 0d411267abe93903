"""A weighted sum of two tensors (BLAS's axpby): a residual branch scaled down, a moving average of two nets."""

from netspec.plugin import Elementwise, number, register


@register("axpby")
class Axpby(Elementwise):
    """y = alpha * a + beta * b; both inputs have one shape."""

    attrs = {
        "alpha": number("Factor of the first input.", default=1.0),
        "beta": number("Factor of the second input.", default=1.0),
    }

    def onnx(self, nodes, t, a, b):
        """Add, of Muls."""
        left = nodes.add("Mul", a, nodes.constant(self.attrs.alpha))
        return nodes.add("Add", left, nodes.add("Mul", b, nodes.constant(self.attrs.beta)))

    def torch(self, code, t, a, b):
        """torch.add, of a multiple."""
        return f"torch.add({self.attrs.alpha!r} * {a}, {b}, alpha={self.attrs.beta!r})"

    def forward(a, b, alpha, beta):
        return alpha * a + beta * b

    def backward(dy, alpha, beta):
        return alpha * dy, beta * dy
