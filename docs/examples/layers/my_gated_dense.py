"""A bilinear gate (Dauphin et al. 2017, without the sigmoid): one dense layer scales another, from outside."""

from math import prod

from netspec.plugin import Layer, Param, Tensor, Workspace, by_products, channels, matrix_product, on_elements, register


@on_elements("forward", writes="y")
def gate(u, v):
    """Forwards."""
    return u * v


@on_elements("backward", writes=("to_u", "to_v"))
def d_gate(u, v, dy):
    """Backwards."""
    return dy * v, dy * u


@on_elements("backward", writes="d_x")
def add(x_of_u, x_of_v):
    """Both products' gradients of x."""
    return x_of_u + x_of_v


@register("my_gated_dense")
class MyGatedDense(Layer):
    """y = (x W + b) * (x V), for x (N, ..., C), W and V (..., C, units)"""

    attrs = {"units": channels("Outputs.")}
    whole_only = "read all of it on one device: {from: ..., connect: all}"
    examples = ({"attrs": {"units": 5}, "inputs": [(3, 2, 1, 7)]}, {"attrs": {"units": 8}, "inputs": [(4, 16)]})
    of_u = matrix_product("x", "weight", "u", bias="bias", d_y="to_u", d_x="x_of_u")
    variants = by_products(add, of_u, matrix_product("x", "other", "v", d_y="to_v", d_x="x_of_v"), gate, d_gate)

    def outputs(self, x):
        return Tensor((x.shape[0], self.attrs.units), x.dtype)

    def params(self, x):
        units, terms = self.attrs.units, prod(x.shape[1:])
        factor = Param((*x.shape[1:], units), {"type": "he"}, factor=True, fan_in=terms, fan_out=units)
        bias = Param((units,), {"type": "constant", "value": 0.0})
        return {"weight": factor, "other": factor, "bias": bias}

    def saved(self, x):
        return {one: self.outputs(x) for one in ("u", "v")}

    def workspace(self, t, variant, direction):
        own = {"to_u": t.y, "to_v": t.y, "x_of_u": t.x, "x_of_v": t.x} if direction == "backward" else {}
        spaces = {name: Workspace(one.shape, one.dtype) for name, one in own.items()}
        return {**spaces, **super().workspace(t, variant, direction)}
