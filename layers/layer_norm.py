"""Layer normalisation over the channels of each pixel (Ba, Kiros and Hinton 2016)."""

from netspec.layers._group_rows import EPSILON, GroupRows, Groups
from netspec.plugin import integer, register


@register("layer_norm")
class LayerNorm(GroupRows):
    """y = (x - mean) / sqrt(variance + epsilon) * weight[c] + bias[c]

    Mean and variance are those of the channels of one pixel, or of one row (N, C): PyTorch's LayerNorm of shape (C).
    With groups each part of the channels has its own.
    """

    attrs = {
        "epsilon": EPSILON,
        "groups": integer("Parts of the channels that do not see each other.", default=None, minimum=1),
    }
    examples = (
        {"attrs": {}, "inputs": [(2, 3, 2, 9)]},
        {"attrs": {"groups": 2, "epsilon": 0.1}, "inputs": [(3, 12)]},
        {"attrs": {}, "inputs": [(4, 200)]},
    )

    def shape_of(self, x):
        groups = self.attrs.groups or 1
        return Groups(x.size // x.shape[-1], 1, groups, x.shape[-1] // groups)

    def onnx(self, nodes, t, x):
        """LayerNormalization of channels last, each group's for itself."""
        shape, last = t.groups, nodes.channels_last(x, t.x)
        weight, bias = (nodes.constant(nodes.params[name], name) for name in ("weight", "bias"))
        if shape.groups == 1:
            y = nodes.add("LayerNormalization", last, weight, bias, axis=-1, epsilon=self.attrs.epsilon)
            return nodes.channels_first(y, t.y)
        kept = [0] * (len(t.x.shape) - 1)
        apart = nodes.add("Reshape", last, nodes.constant([*kept, shape.groups, shape.depth], "groups"))
        ones = nodes.constant([1.0] * shape.depth)
        normal = nodes.add("LayerNormalization", apart, ones, axis=-1, epsilon=self.attrs.epsilon)
        whole = nodes.add("Reshape", normal, nodes.add("Shape", last))
        return nodes.channels_first(nodes.add("Add", nodes.add("Mul", whole, weight), bias), t.y)

    def torch(self, code, t, x):
        """nn.LayerNorm of channels last; with groups nn.GroupNorm of each pixel."""
        code.holds("weight")
        code.holds("bias")
        width, epsilon = t.x.shape[-1], self.attrs.epsilon
        last = code.value(f"{code.layer}-last", code.channels_last(x, t.x))
        if t.groups.groups == 1:
            return code.channels_first(f"{code.module('nn.LayerNorm', width, eps=epsilon)}({last})", t.y)
        norm = code.module("nn.GroupNorm", t.groups.groups, width, eps=epsilon)
        return code.channels_first(f"{norm}({last}.reshape(-1, {width})).view({last}.shape)", t.y)
