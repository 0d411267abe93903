"""A gain and a bias for each channel: a normalisation's second half, or a frozen one."""

from netspec.plugin import Channelwise, Param, boolean, per_channel, per_element, register

MODULE = """
class Scale(nn.Module):
    def __init__(self, shape, bias=True):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))
        self.register_parameter("bias", nn.Parameter(torch.zeros(shape)) if bias else None)

    def forward(self, x):
        return self.weight * x if self.bias is None else self.weight * x + self.bias
"""
BIASED, PLAIN = {"bias": True}, {"bias": False}


@register("scale")
class Scale(Channelwise):
    """y = weight[c] * x + bias[c]; weights start at 1, biases at 0."""

    attrs = {"bias": boolean("Whether a bias is added.", default=True)}
    examples = ({"attrs": {}, "inputs": [(2, 3, 4, 8)]}, {"attrs": {"bias": False}, "inputs": [(5, 7)]})

    def params(self, x):
        starts = {"weight": 1.0, **({"bias": 0.0} if self.attrs.bias else {})}
        return {name: Param(x.shape[-1:], {"type": "constant", "value": one}, axis=0) for name, one in starts.items()}

    def onnx(self, nodes, t, x):
        """Mul and Add."""
        y = nodes.add("Mul", x, nodes.per_channel(nodes.params["weight"], t.x, "weight"))
        return nodes.add("Add", y, nodes.per_channel(nodes.params["bias"], t.x, "bias")) if self.attrs.bias else y

    def torch(self, code, t, x):
        """A module of its own."""
        image, names = len(t.x.shape) > 3, ("weight", "bias") if self.attrs.bias else ("weight",)
        for name in names:
            code.holds(name, shape=(-1, 1, 1) if image else ())
        shape = (t.x.shape[-1], 1, 1) if image else (t.x.shape[-1],)
        return f"{code.module(code.helper('Scale', MODULE), shape, bias=None if self.attrs.bias else False)}({x})"

    @per_element("forward", writes="y", channels=["weight", "bias"], when=BIASED)
    def scale_and_shift(x, weight, bias):
        return weight * x + bias

    @per_element("forward", writes="y", channels=["weight"], when=PLAIN)
    def scale(x, weight):
        return weight * x

    @per_element("backward", writes="d_x", channels=["weight"])
    def d_x(weight, dy):
        return weight * dy

    @per_channel("backward", writes="d_weight")
    def d_weight(x, dy):
        return dy * x

    @per_channel("backward", writes="d_bias", when=BIASED)
    def d_bias(dy):
        return dy
