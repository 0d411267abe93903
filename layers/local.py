"""Locally connected layer: a convolution whose every position has kernels of its own (cuda-convnet's ``local``)."""

from math import prod

from netspec.layers._cuda import local as local_cuda
from netspec.layers._window import image_groups, initial_bias, window_of
from netspec.plugin import (
    Flops,
    Layer,
    Param,
    Tensor,
    backward,
    boolean,
    choice,
    forward,
    initialiser,
    integer,
    number,
    padding,
    pair,
    register,
)

APART, SHARED = local_cuda.APART, local_cuda.SHARED


@register("local")
class Local(Layer):
    """y[n, oh, ow, f] = bias[oh, ow, f] + the sum of x[n, oh * stride - pad + i, ...] weight[oh, ow, i, j, c, f].

    x is (N, H, W, C), y (N, OH, OW, filters), weight (OH, OW, KH, KW, C / groups, filters), bias (OH, OW, filters),
    or (filters) with ``shared_bias``. Windows and groups are those of conv.
    """

    attrs = {
        "filters": integer("Kernels at each position, and so channels of the output.", minimum=1),
        "size": pair("Height and width of the kernels.", minimum=1),
        "stride": pair("Pixels between neighbouring windows.", default=1, minimum=1),
        "pad": padding("Zeros round the image."),
        "groups": integer("Channels and filters are cut in as many parts.", default=None, minimum=1),
        "rounding": choice("floor", "ceil", default="floor", description="Whether windows may hang over the edge."),
        "bias": boolean("Whether a bias is added.", default=True),
        "shared_bias": boolean("One bias a filter instead of one an output.", default=False),
        "init": initialiser("How the weights start.", default={"type": "gaussian", "std": 0.01}),
        "bias_init": number("Where the biases start.", default=0.0),
    }
    divided = ("filters", "groups")
    mixes_channels = True
    examples = (
        {"attrs": {"filters": 3, "size": 3, "pad": 1}, "inputs": [(2, 3, 4, 2)]},
        {
            "attrs": {"filters": 4, "size": [3, 2], "stride": [2, 1], "pad": [1, 0, 2, 1], "groups": 2},
            "inputs": [(2, 5, 3, 4)],
        },
        {
            "attrs": {"filters": 2, "size": 2, "stride": 3, "rounding": "ceil", "shared_bias": True},
            "inputs": [(2, 4, 4, 3)],
        },
        {"attrs": {"filters": 2, "size": 1, "bias": False}, "inputs": [(2, 2, 2, 3)]},
    )

    def outputs(self, x: Tensor) -> Tensor:
        """(N, OH, OW, filters)."""
        return Tensor((x.shape[0], *window_of(self.attrs, x).out, self.attrs.filters), x.dtype)

    def params(self, x: Tensor) -> dict[str, Param]:
        """weight (OH, OW, KH, KW, C / groups, filters) and bias."""
        window, filters = window_of(self.attrs, x), self.attrs.filters
        depth = image_groups(x.shape[3], filters, self._groups, "filters")
        fans = {"fan_in": window.area * depth, "fan_out": window.area * filters // self._groups}
        result = {"weight": Param((*window.out, *window.size, depth, filters), self.attrs.init, axis=5, **fans)}
        if self.attrs.bias:
            shape = (filters,) if self.attrs.shared_bias else (*window.out, filters)
            result["bias"] = Param(shape, initial_bias(self.attrs), axis=len(shape) - 1, **fans)
        return result

    def scalars(self, t, index=None):
        """The window's numbers; ``shape``: those of x, y's width and filters, channels of a group."""
        window = window_of(self.attrs, t.x)
        shape = (*t.x.shape[1:], t.y.shape[2], t.y.shape[3], t.weight.shape[4])
        return {**window.scalars, "groups": self._groups, "window": tuple(window.scalars.values()), "shape": shape}

    def flops(self, t):
        """All windows counted whole, in each of the three products."""
        count = 2 * t.y.size * prod(t.weight.shape[2:5])
        return Flops(count, count, count)

    @property
    def _groups(self) -> int:
        return self.attrs.groups or 1

    # CPU: a block of the forward pass and of the weights' is one position, so that its kernels stay in the cache -----

    @forward("cpu", over="y", axes=(1, 2), writes="y")
    def forward_cpu(start, stop, x, weight, y, groups, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
        height, width, depth, share = x.shape[1], x.shape[2], weight.shape[4], y.shape[3] // groups
        for position in range(start, stop):
            oh, ow = position // y.shape[2], position % y.shape[2]
            top, left = oh * stride_h - pad_top, ow * stride_w - pad_left
            for n in range(x.shape[0]):
                pixel = y[n, oh, ow]
                pixel[:] = 0
                for i in range(max(0, -top), min(size_h, height - top)):
                    for j in range(max(0, -left), min(size_w, width - left)):
                        for c in range(x.shape[3]):
                            value, g = x[n, top + i, left + j, c], c // depth
                            kernel = weight[oh, ow, i, j, c - g * depth]
                            for f in range(g * share, (g + 1) * share):
                                pixel[f] += value * kernel[f]

    @forward("cpu", over="y", axes=0, writes="y", when=APART)
    def add_bias_cpu(start, stop, bias, y):
        for n in range(start, stop):
            for oh in range(y.shape[1]):
                for ow in range(y.shape[2]):
                    for f in range(y.shape[3]):
                        y[n, oh, ow, f] += bias[oh, ow, f]

    @forward("cpu", over="y", axes=0, writes="y", when=SHARED)
    def add_shared_bias_cpu(start, stop, bias, y):
        for n in range(start, stop):
            for oh in range(y.shape[1]):
                for ow in range(y.shape[2]):
                    for f in range(y.shape[3]):
                        y[n, oh, ow, f] += bias[f]

    @backward("cpu", over="d_x", axes=0, writes="d_x")
    def d_x_cpu(start, stop, weight, dy, d_x, groups, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
        height, width, depth, share = d_x.shape[1], d_x.shape[2], weight.shape[4], dy.shape[3] // groups
        d_x[start:stop] = 0
        for n in range(start, stop):
            for oh in range(dy.shape[1]):
                top = oh * stride_h - pad_top
                for ow in range(dy.shape[2]):
                    left, gradient = ow * stride_w - pad_left, dy[n, oh, ow]
                    for i in range(max(0, -top), min(size_h, height - top)):
                        for j in range(max(0, -left), min(size_w, width - left)):
                            for c in range(d_x.shape[3]):
                                g, total = c // depth, 0.0
                                kernel = weight[oh, ow, i, j, c - g * depth]
                                for f in range(g * share, (g + 1) * share):
                                    total += gradient[f] * kernel[f]
                                d_x[n, top + i, left + j, c] += total

    @backward("cpu", over="d_weight", axes=(0, 1), writes="d_weight")
    def d_weight_cpu(start, stop, x, dy, d_weight, groups, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
        height, width, depth, share = x.shape[1], x.shape[2], d_weight.shape[4], dy.shape[3] // groups
        for position in range(start, stop):
            oh, ow = position // dy.shape[2], position % dy.shape[2]
            top, left = oh * stride_h - pad_top, ow * stride_w - pad_left
            d_weight[oh, ow] = 0
            for n in range(x.shape[0]):
                gradient = dy[n, oh, ow]
                for i in range(max(0, -top), min(size_h, height - top)):
                    for j in range(max(0, -left), min(size_w, width - left)):
                        for c in range(x.shape[3]):
                            value, g = x[n, top + i, left + j, c], c // depth
                            kernel = d_weight[oh, ow, i, j, c - g * depth]
                            for f in range(g * share, (g + 1) * share):
                                kernel[f] += value * gradient[f]

    @backward("cpu", over="d_bias", axes=(0, 1), writes="d_bias", when=APART)
    def d_bias_cpu(start, stop, dy, d_bias):
        for position in range(start, stop):
            oh, ow = position // dy.shape[2], position % dy.shape[2]
            total = d_bias[oh, ow]
            total[:] = 0
            for n in range(dy.shape[0]):
                for f in range(dy.shape[3]):
                    total[f] += dy[n, oh, ow, f]

    @backward("cpu", over="d_bias", block=16, writes="d_bias", when=SHARED)
    def d_shared_bias_cpu(start, stop, dy, d_bias):
        for f in range(start, stop):
            total = 0.0
            for n in range(dy.shape[0]):
                image = 0.0
                for oh in range(dy.shape[1]):
                    for ow in range(dy.shape[2]):
                        image += dy[n, oh, ow, f]
                total += image
            d_bias[f] = total

    forward_cuda, forward_unbiased_cuda = local_cuda.forward_cuda, local_cuda.forward_unbiased_cuda
    d_x_cuda, d_weight_cuda = local_cuda.d_x_cuda, local_cuda.d_weight_cuda
    d_bias_cuda, d_shared_bias_cuda = local_cuda.d_bias_cuda, local_cuda.d_shared_bias_cuda
