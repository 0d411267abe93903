"""Group normalisation: parts of the channels of each image (Wu and He 2018)."""

from netspec.layers._group_rows import EPSILON, GroupRows, Groups
from netspec.plugin import integer, register


@register("group_norm")
class GroupNorm(GroupRows):
    """y = (x - mean) / sqrt(variance + epsilon) * weight[c] + bias[c]

    Mean and variance are those of one image's pixels in one group of channels: PyTorch's GroupNorm. With as many groups
    as channels it is instance normalisation (Ulyanov et al. 2016).
    """

    attrs = {
        "groups": integer("Parts of the channels, of which each has its statistics.", minimum=1),
        "epsilon": EPSILON,
    }
    examples = (
        {"attrs": {"groups": 2}, "inputs": [(2, 3, 2, 8)]},
        {"attrs": {"groups": 7, "epsilon": 0.1}, "inputs": [(3, 4, 3, 7)]},
        {"attrs": {"groups": 1}, "inputs": [(2, 9, 5, 6)]},
    )

    def shape_of(self, x):
        outer, groups, width = x.shape[0], self.attrs.groups, x.shape[-1]
        return Groups(outer, x.size // (outer * width), groups, width // groups)

    def onnx(self, nodes, t, x):
        """InstanceNormalization of each group as one channel; GroupNormalization is younger than the opset."""
        shape = t.groups
        apart = nodes.add("Reshape", x, nodes.constant([0, shape.groups, -1], "groups"))
        ones, zeros = (nodes.constant([one] * shape.groups) for one in (1.0, 0.0))
        normal = nodes.add("InstanceNormalization", apart, ones, zeros, epsilon=self.attrs.epsilon)
        whole = nodes.add("Reshape", normal, nodes.add("Shape", x))
        weight, bias = (nodes.per_channel(nodes.params[name], t.x, name) for name in ("weight", "bias"))
        return nodes.add("Add", nodes.add("Mul", whole, weight), bias)

    def torch(self, code, t, x):
        """nn.GroupNorm; it has channels as its second axis, behind which frames come."""
        code.holds("weight")
        code.holds("bias")
        norm = code.module("nn.GroupNorm", t.groups.groups, t.x.shape[-1], eps=self.attrs.epsilon)
        return f"{norm}({x}.transpose(1, 2)).transpose(1, 2)" if len(t.x.shape) == 5 else f"{norm}({x})"
