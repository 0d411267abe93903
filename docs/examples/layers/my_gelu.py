"""Gaussian error linear unit (Hendrycks and Gimpel 2016), from outside."""

import math

from netspec.plugin import Elementwise, register


@register("my_gelu")
class MyGELU(Elementwise):
    """y = x * P(X <= x) for X of the standard normal distribution"""

    def forward(x):
        return x * (0.5 + 0.5 * math.erf(x * 0.7071067811865476))

    def backward(x, dy):
        density = 0.3989422804014327 * math.exp(-0.5 * x * x)
        return dy * (0.5 + 0.5 * math.erf(x * 0.7071067811865476) + x * density)
