"""Rectifier with a learned slope for each channel (He et al. 2015), from outside."""

from netspec.plugin import Channelwise, Param, number, per_channel, per_element, register


@register("my_prelu")
class MyPReLU(Channelwise):
    """y = x if x > 0 else weight[c] * x"""

    attrs = {"start": number("Where the slopes start.", default=0.25)}

    def params(self, x):
        return {"weight": Param(x.shape[-1:], {"type": "constant", "value": self.attrs.start})}

    @per_element("forward", writes="y", channels=["weight"])
    def rectify(x, weight):
        return x if x > 0 else weight * x

    @per_element("backward", writes="d_x", channels=["weight"])
    def d_x(x, weight, dy):
        return dy if x > 0 else weight * dy

    @per_channel("backward", writes="d_weight")
    def d_weight(x, dy):
        return dy * 0 if x > 0 else dy * x
