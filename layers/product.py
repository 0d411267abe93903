"""The elementwise product of two tensors."""

from netspec.plugin import Elementwise, register


@register("product")
class Product(Elementwise):
    """y = a * b; both inputs have one shape."""

    def onnx(self, nodes, t, a, b):
        """Mul."""
        return nodes.add("Mul", a, b)

    def torch(self, code, t, a, b):
        """torch.mul."""
        return f"torch.mul({a}, {b})"

    def forward(a, b):
        return a * b

    def backward(a, b, dy):
        return dy * b, dy * a
