"""Rectifier with a learned slope for each channel (He et al. 2015, Delving deep into rectifiers)."""

from netspec.plugin import Channelwise, Param, number, per_channel, per_element, register


@register("prelu")
class PReLU(Channelwise):
    """y = x if x > 0 else weight[c] * x"""

    attrs = {"start": number("Where the slopes start.", default=0.25)}
    examples = (
        {"attrs": {}, "inputs": [(2, 3, 4, 8)]},
        {"attrs": {"start": 0.1}, "inputs": [(5, 7)]},
        {"attrs": {}, "inputs": [(3, 40, 10, 33)]},
    )

    def params(self, x):
        return {"weight": Param(x.shape[-1:], {"type": "constant", "value": self.attrs.start}, axis=0)}

    def onnx(self, nodes, t, x):
        """PRelu."""
        return nodes.add("PRelu", x, nodes.per_channel(nodes.params["weight"], t.x, "weight"))

    def torch(self, code, t, x):
        """nn.PReLU."""
        code.holds("weight")
        return code.by_image(code.module("nn.PReLU", t.x.shape[-1]), x, t.x)

    @per_element("forward", writes="y", channels=["weight"])
    def rectify(x, weight):
        return x if x > 0 else weight * x

    @per_element("backward", writes="d_x", channels=["weight"])
    def d_x(x, weight, dy):
        return dy if x > 0 else weight * dy

    @per_channel("backward", writes="d_weight")
    def d_weight(x, dy):
        return dy * 0 if x > 0 else dy * x
