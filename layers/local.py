"""Locally connected layer: a convolution whose every position has kernels of its own (cuda-convnet's ``local``)."""

from math import prod

from netspec.layers._window import element, image_groups, initial_bias, window_of
from netspec.plugin import (
    Flops,
    Layer,
    Param,
    Tensor,
    backward,
    boolean,
    choice,
    cuda,
    forward,
    initialiser,
    integer,
    number,
    padding,
    pair,
    register,
)

APART, SHARED = {"bias": True, "shared_bias": False}, {"bias": True, "shared_bias": True}


def _blocks(name):
    """CUDA blocks of 128 threads, one an element of a tensor."""
    return lambda t: (-(-t[name].size // 128),)


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
        """The window's numbers."""
        return {**window_of(self.attrs, t.x).scalars, "groups": self._groups}

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

    # CUDA: one thread an element, neighbouring threads neighbouring channels or filters -------------------------------

    @forward("cuda", over="y", grid=_blocks("y"), writes="y")
    def forward_cuda(x, weight, y, groups, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
        n, oh, ow, f = element(cuda.grid(1), y)
        if n < y.shape[0]:
            top, left, depth = oh * stride_h - pad_top, ow * stride_w - pad_left, weight.shape[4]
            first, total = f // (y.shape[3] // groups) * depth, 0.0
            for i in range(max(0, -top), min(size_h, x.shape[1] - top)):
                for j in range(max(0, -left), min(size_w, x.shape[2] - left)):
                    for c in range(depth):
                        total += x[n, top + i, left + j, first + c] * weight[oh, ow, i, j, c, f]
            y[n, oh, ow, f] = total

    @forward("cuda", over="y", writes="y", when={"bias": True})
    def add_bias_cuda(bias, y):
        e = cuda.grid(1)
        if e < y.size:
            rest = e % bias.size
            if bias.ndim == 3:
                y[e] += bias[
                    rest // bias.shape[2] // bias.shape[1], rest // bias.shape[2] % bias.shape[1], rest % bias.shape[2]
                ]
            else:
                y[e] += bias[rest]

    @backward("cuda", over="d_x", grid=_blocks("x"), writes="d_x")
    def d_x_cuda(weight, dy, d_x, groups, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
        n, ih, iw, channel = element(cuda.grid(1), d_x)
        if n < d_x.shape[0]:
            depth, share = weight.shape[4], dy.shape[3] // groups
            g, c, total = channel // depth, channel % depth, 0.0
            for i in range(size_h):
                for j in range(size_w):
                    h, w = ih + pad_top - i, iw + pad_left - j
                    oh, ow = h // stride_h, w // stride_w
                    on = h % stride_h == 0 and w % stride_w == 0
                    if on and 0 <= oh and oh < dy.shape[1] and 0 <= ow and ow < dy.shape[2]:
                        for f in range(g * share, (g + 1) * share):
                            total += dy[n, oh, ow, f] * weight[oh, ow, i, j, c, f]
            d_x[n, ih, iw, channel] = total

    @backward("cuda", over="d_weight", grid=_blocks("weight"), writes="d_weight")
    def d_weight_cuda(x, dy, d_weight, groups, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
        depth, filters = d_weight.shape[4], d_weight.shape[5]
        term, f = cuda.grid(1) // filters, cuda.grid(1) % filters
        i, j, c = term // (depth * size_w) % size_h, term // depth % size_w, term % depth
        position = term // (depth * size_w * size_h)
        oh, ow = position // dy.shape[2], position % dy.shape[2]
        if oh < dy.shape[1]:
            ih, iw, total = oh * stride_h - pad_top + i, ow * stride_w - pad_left + j, 0.0
            if 0 <= ih and ih < x.shape[1] and 0 <= iw and iw < x.shape[2]:
                for n in range(x.shape[0]):
                    total += x[n, ih, iw, f // (filters // groups) * depth + c] * dy[n, oh, ow, f]
            d_weight[oh, ow, i, j, c, f] = total

    @backward("cuda", over="d_bias", writes="d_bias", when=APART)
    def d_bias_cuda(dy, d_bias):
        e = cuda.grid(1)
        if e < d_bias.size:
            oh, ow, f = e // dy.shape[3] // dy.shape[2], e // dy.shape[3] % dy.shape[2], e % dy.shape[3]
            total = dy[0, oh, ow, f]
            for n in range(1, dy.shape[0]):
                total += dy[n, oh, ow, f]
            d_bias[e] = total

    @backward("cuda", over="d_bias", writes="d_bias", when=SHARED)
    def d_shared_bias_cuda(dy, d_bias):
        f = cuda.grid(1)
        if f < d_bias.size:
            total = 0.0
            for n in range(dy.shape[0]):
                image = 0.0
                for pixel in range(dy.shape[1] * dy.shape[2]):
                    image += dy[n, pixel // dy.shape[2], pixel % dy.shape[2], f]
                total += image
            d_bias[f] = total
