"""Fully connected layer, over images as they are or over vectors."""

from math import prod

from netspec.layers._dense_products import VARIANTS, with_geometry
from netspec.layers._filters import BIAS_INIT, INIT, image_groups, initial_bias
from netspec.plugin import (
    Flops,
    Layer,
    LayerError,
    Param,
    Tensor,
    boolean,
    channels,
    integer,
    register,
)


@register("dense")
class Dense(Layer):
    """y[n, u] = bias[u] + the sum over h, w, c of x[n, h, w, c] weight[h, w, c, u].

    x is (N, H, W, C) or (N, C), y (N, units), weight (H, W, C / groups, units) or (C / groups, units), bias (units).
    Group g computes the g-th share of the units from the g-th share of the channels.
    """

    attrs = {
        "units": channels("Outputs; classes: as many as the data has."),
        "groups": integer("Channels and units are cut in as many parts.", default=None, minimum=1),
        "bias": boolean("Whether each unit adds a bias.", default=True),
        "init": INIT,
        "bias_init": BIAS_INIT,
    }
    divided = ("units", "groups")
    mixes_channels = True
    variants = VARIANTS
    examples = (
        {"attrs": {"units": 5}, "inputs": [(3, 2, 3, 4)]},
        {"attrs": {"units": 6, "groups": 2}, "inputs": [(3, 2, 2, 4)]},
        {"attrs": {"units": 4, "groups": 2, "bias": False}, "inputs": [(4, 4)]},
        {"attrs": {"units": 3}, "inputs": [(2, 5)]},
        {"attrs": {"units": 4}, "inputs": [(2, 70)]},
        {"attrs": {"units": 2, "bias": False}, "inputs": [(1, 51)]},
    )

    def outputs(self, x: Tensor) -> Tensor:
        """(N, units)."""
        if len(x.shape) not in (2, 4):
            raise LayerError(f"the input must be (batch, height, width, channels) or (batch, channels), got {x.shape}")
        return Tensor((x.shape[0], self.attrs.units), x.dtype)

    def params(self, x: Tensor) -> dict[str, Param]:
        """weight (H, W, C / groups, units), or (C / groups, units) for vectors, and bias (units)."""
        units = self.attrs.units
        depth = image_groups(x.shape[-1], units, self._groups, "units")
        shape = (*x.shape[1:-1], depth, units)
        fans = {"fan_in": prod(shape[:-1]), "fan_out": units // self._groups}
        result = {"weight": Param(shape, self.attrs.init, axis=len(shape) - 1, factor=True, **fans)}
        if self.attrs.bias:
            result["bias"] = Param((units,), initial_bias(self.attrs), axis=0, **fans)
        return result

    def tensors(self, inputs):
        """With them the sizes as kernels on tensor cores know them."""
        return with_geometry(super().tensors(inputs))

    def flops(self, t):
        """A multiply-add for each weight in use, in each of the three products."""
        count = 2 * t.x.shape[0] * t.weight.size
        return Flops(count, count, count)

    def onnx(self, nodes, t, x):
        """Gemm over the flattened input; with groups, a Conv whose kernels are as large as the image."""
        weight = nodes.params["weight"].reshape(*(t.x.shape[1:-1] or (1, 1)), -1, self.attrs.units)
        bias = [nodes.constant(nodes.params["bias"], "bias")] if self.attrs.bias else []
        if self._groups == 1:
            rows = nodes.constant(weight.transpose(2, 0, 1, 3).reshape(-1, self.attrs.units), "weight")
            return nodes.add("Gemm", nodes.add("Flatten", x), rows, *bias)
        kernels = nodes.constant(weight.transpose(3, 2, 0, 1), "weight")
        image = x if len(t.x.shape) == 4 else nodes.add("Unsqueeze", x, nodes.constant([2, 3], "axes"))
        return nodes.add("Flatten", nodes.add("Conv", image, kernels, *bias, group=self._groups))

    def torch(self, code, t, x):
        """nn.Linear over the flattened input; with groups, an nn.Conv2d whose kernels are as large as the image."""
        units, shape, bias = self.attrs.units, t.x.shape[1:], None if self.attrs.bias else False
        image = len(shape) == 3
        order, size = ((3, 2, 0, 1), shape[:2]) if image else ((1, 0), (1, 1))
        code.holds("weight", order, (units, -1) if self._groups == 1 else (units, -1, *size))
        if self.attrs.bias:
            code.holds("bias")
        if self._groups == 1:
            return f"{code.module('nn.Linear', prod(shape), units, bias=bias)}({f'{x}.flatten(1)' if image else x})"
        conv = code.module("nn.Conv2d", shape[-1], units, size, groups=self._groups, bias=bias)
        return f"{conv}({x if image else f'{x}[:, :, None, None]'}).flatten(1)"

    @property
    def _groups(self) -> int:
        return self.attrs.groups or 1
