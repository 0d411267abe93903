"""A dense layer that ends with GELU (Hendrycks and Gimpel 2016), in the kernels of its product, from outside."""

import math

from netspec.plugin import Layer, Param, Tensor, by_products, channels, matrix_product, register


def gelu(u):
    """For an element of the product."""
    return u * (1 + math.erf(u * 0.7071067811865476)) / 2


def d_gelu(u, dy):
    """Its gradient."""
    share = (1 + math.erf(u * 0.7071067811865476)) / 2
    return dy * (share + u * 0.3989422804014327 * math.exp(-u * u / 2))


@register("my_gelu_dense")
class MyGeluDense(Layer):
    """y = gelu(x weight + bias), for x (N, ..., C) and weight (..., C, units)"""

    attrs = {"units": channels("Outputs.")}
    whole_only = "read all of it on one device: {from: ..., connect: all}"
    examples = ({"attrs": {"units": 5}, "inputs": [(3, 2, 1, 7)]}, {"attrs": {"units": 8}, "inputs": [(4, 16)]})
    variants = by_products(matrix_product("x", "weight", "y", bias="bias", epilogue=gelu, derivative=d_gelu))

    def outputs(self, x):
        return Tensor((x.shape[0], self.attrs.units), x.dtype)

    def params(self, x):
        units, terms = self.attrs.units, math.prod(x.shape[1:])
        weight = Param((*x.shape[1:], units), {"type": "he"}, factor=True, fan_in=terms, fan_out=units)
        return {"weight": weight, "bias": Param((units,), {"type": "constant", "value": 0.0})}

    def saved(self, x):
        return {"u": self.outputs(x)}
