"""Softsign: what the layer is in a line, and where it is from (authors and year)."""

from netspec.plugin import Elementwise, number, register


@register("my_layer")
class MyLayer(Elementwise):
    """y = x / (1 + sharpness * abs(x))"""

    # Attributes with help, bounds and a default; without a default a spec must give one.
    attrs = {"sharpness": number("How soon it flattens.", default=1.0, above=0)}

    # Functions of single numbers, without self: compiled for CPUs and for GPUs. They ask by name for x and for
    # attributes; backward also for y, and for dy, the gradient of y. What backward names is kept for it: where it needs
    # y alone, leave x out, and the layer runs in place.

    def forward(x, sharpness):
        return x / (1 + sharpness * abs(x))

    def backward(x, dy, sharpness):
        slope = 1 / (1 + sharpness * abs(x))
        return dy * slope * slope
