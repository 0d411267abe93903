"""Locally connected layer: a convolution whose every position has kernels of its own (cuda-convnet's ``local``)."""

from math import prod

from netspec.layers._cuda import local_tiled
from netspec.layers._filters import WINDOWS, image_groups, initial_bias
from netspec.layers._window import Window, onnx_window, window_of
from netspec.plugin import Flops, Layer, Param, Tensor, Workspace, backward, boolean, device, forward, register

PER_OUTPUT, SHARED = {"bias": True, "shared_bias": False}, {"bias": True, "shared_bias": True}


MODULE = '''
class Local2d(nn.Module):
    """A convolution whose every place has kernels of its own."""

    def __init__(self, channels, filters, size, out, stride=1, groups=1, bias=None):
        super().__init__()
        height, width = size if isinstance(size, tuple) else (size, size)
        rows, columns = out if isinstance(out, tuple) else (out, out)
        self.size, self.out, self.stride, self.groups = (height, width), (rows, columns), stride, groups
        self.weight = nn.Parameter(torch.zeros(rows, columns, filters, channels // groups, height, width))
        self.bias = None if bias is None else nn.Parameter(torch.zeros(bias))

    def forward(self, x):
        places, filters = self.out[0] * self.out[1], self.weight.shape[2]
        windows = F.unfold(x, self.size, stride=self.stride).unflatten(1, (self.groups, -1))
        weight = self.weight.reshape(places, self.groups, filters // self.groups, -1)
        y = torch.einsum("ngil,lgfi->ngfl", windows, weight).reshape(-1, filters, *self.out)
        return y if self.bias is None else y + self.bias
'''
"""What PyTorch has no module for."""


@device
def add_row(pixel, row):
    """Add a row to a pixel's channels."""
    for f in range(pixel.size):
        pixel[f] += row[f]


@register("local")
class Local(Layer):
    """y[n, oh, ow, f] = bias[oh, ow, f] + the sum of x[n, oh * stride - pad + i, ...] weight[oh, ow, i, j, c, f].

    x is (N, H, W, C), y (N, OH, OW, filters), weight (OH, OW, KH, KW, C / groups, filters), bias (OH, OW, filters),
    or (filters) with ``shared_bias``. Windows and groups are those of conv.
    """

    attrs = {**WINDOWS, "shared_bias": boolean("One bias a filter instead of one an output.", default=False)}
    divided = ("filters", "groups")
    mixes_channels = True
    variants = (local_tiled.PLAIN,)
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
        shape = (*window.out, *window.size, depth, filters)
        result = {"weight": Param(shape, self.attrs.init, axis=5, factor=True, **fans)}
        if self.attrs.bias:
            shape = (filters,) if self.attrs.shared_bias else (*window.out, filters)
            result["bias"] = Param(shape, initial_bias(self.attrs), axis=len(shape) - 1, **fans)
        return result

    def scalars(self, t, index=None):
        """The windows and groups."""
        return {**super().scalars(t, index), "groups": self._groups, "window": window_of(self.attrs, t.x)}

    def onnx(self, nodes, t, x):
        """The pixels of each window by a Conv that copies them, then a product for each place."""
        import numpy as np

        window, groups, filters = window_of(self.attrs, t.x), self._groups, self.attrs.filters
        depth, places = t.x.shape[3], prod(window.out)
        count = window.area * depth
        kernels = nodes.constant(np.eye(count, dtype=np.float32).reshape(count, depth, *window.size), "copies")
        pixels = nodes.add("Conv", x, kernels, **onnx_window(window, t.x))
        # (N, C * KH * KW, OH, OW) -> (OH * OW, groups, N, C / groups * KH * KW), by which each place's kernels multiply
        apart = nodes.constant([0, groups, count // groups, places], "windows")
        rows = nodes.add("Transpose", nodes.add("Reshape", pixels, apart), perm=[3, 1, 0, 2])
        weight = nodes.params["weight"].reshape(places, window.area, depth // groups, groups, filters // groups)
        weight = weight.transpose(0, 3, 2, 1, 4).reshape(places, groups, -1, filters // groups)
        product = nodes.add("Transpose", nodes.add("MatMul", rows, nodes.constant(weight, "weight")), perm=[2, 1, 3, 0])
        image = nodes.add("Reshape", product, nodes.constant([0, filters, *window.out], "image"))
        if not self.attrs.bias:
            return image
        bias = nodes.params["bias"]
        bias = bias.reshape(-1, 1, 1) if self.attrs.shared_bias else bias.transpose(2, 0, 1)
        return nodes.add("Add", image, nodes.constant(bias, "bias"))

    def torch(self, code, t, x):
        """A module of its own, over unfolded windows."""
        window, attrs = window_of(self.attrs, t.x), self.attrs
        top, left, bottom, right = onnx_window(window, t.x)["pads"]
        code.holds("weight", (0, 1, 5, 4, 2, 3))
        if attrs.bias and attrs.shared_bias:
            code.holds("bias", shape=(attrs.filters, 1, 1))
        elif attrs.bias:
            code.holds("bias", (2, 0, 1))
        bias = ((attrs.filters, 1, 1) if attrs.shared_bias else (attrs.filters, *window.out)) if attrs.bias else None
        options = {"stride": window.stride, "groups": self._groups if self._groups > 1 else None}
        kind = code.helper("Local2d", MODULE)
        options |= {"stride": None} if window.stride == (1, 1) else {}
        options |= {"bias": None if bias is None else repr(bias)}
        local = code.module(kind, t.x.shape[3], attrs.filters, window.size, window.out, **options)
        return f"{local}({f'F.pad({x}, ({left}, {right}, {top}, {bottom}))' if top + left + bottom + right else x})"

    def workspace(self, t, variant, direction):
        """Sums, which are float32 whatever is stored: of a pixel of y, of an image of d_x."""
        name, shape = ("sums", t.y.shape[3:]) if direction == "forward" else ("image", t.x.shape[1:])
        return {name: Workspace(shape, per="member"), **super().workspace(t, variant, direction)}

    def flops(self, t):
        """All windows counted whole, in each of the three products."""
        count = 2 * t.y.size * prod(t.weight.shape[2:5])
        return Flops(count, count, count)

    @property
    def _groups(self) -> int:
        return self.attrs.groups or 1

    # CPU: a block of the forward pass and of the weights' is one position, so that its kernels stay in the cache -----

    @forward("cpu", over="y", axes=(1, 2), writes="y")
    def forward_cpu(start, stop, x, weight, y, sums, groups, window: Window):
        height, width, depth, share = x.shape[1], x.shape[2], weight.shape[4], y.shape[3] // groups
        for position in range(start, stop):
            oh, ow = position // y.shape[2], position % y.shape[2]
            top, left = oh * window.stride_h - window.pad_top, ow * window.stride_w - window.pad_left
            for n in range(x.shape[0]):
                sums[:] = 0
                for i in range(max(0, -top), min(window.size_h, height - top)):
                    for j in range(max(0, -left), min(window.size_w, width - left)):
                        for c in range(x.shape[3]):
                            value, g = x[n, top + i, left + j, c], c // depth
                            kernel = weight[oh, ow, i, j, c - g * depth]
                            for f in range(g * share, (g + 1) * share):
                                sums[f] += value * kernel[f]
                y[n, oh, ow] = sums

    @forward("cpu", over="y", axes=0, writes="y", when=PER_OUTPUT)
    def add_bias_cpu(start, stop, bias, y):
        for n in range(start, stop):
            for oh in range(y.shape[1]):
                for ow in range(y.shape[2]):
                    add_row(y[n, oh, ow], bias[oh, ow])

    @forward("cpu", over="y", axes=0, writes="y", when=SHARED)
    def add_shared_bias_cpu(start, stop, bias, y):
        for n in range(start, stop):
            for oh in range(y.shape[1]):
                for ow in range(y.shape[2]):
                    add_row(y[n, oh, ow], bias)

    @backward("cpu", over="d_x", axes=0, writes="d_x")
    def d_x_cpu(start, stop, weight, dy, d_x, image, groups, window: Window):
        height, width, depth, share = d_x.shape[1], d_x.shape[2], weight.shape[4], dy.shape[3] // groups
        for n in range(start, stop):
            image[:] = 0
            for oh in range(dy.shape[1]):
                top = oh * window.stride_h - window.pad_top
                for ow in range(dy.shape[2]):
                    left, gradient = ow * window.stride_w - window.pad_left, dy[n, oh, ow]
                    for i in range(max(0, -top), min(window.size_h, height - top)):
                        for j in range(max(0, -left), min(window.size_w, width - left)):
                            for c in range(d_x.shape[3]):
                                g, total = c // depth, 0.0
                                kernel = weight[oh, ow, i, j, c - g * depth]
                                for f in range(g * share, (g + 1) * share):
                                    total += gradient[f] * kernel[f]
                                image[top + i, left + j, c] += total
            d_x[n] = image

    @backward("cpu", over="d_weight", axes=(0, 1), writes="d_weight")
    def d_weight_cpu(start, stop, x, dy, d_weight, groups, window: Window):
        height, width, depth, share = x.shape[1], x.shape[2], d_weight.shape[4], dy.shape[3] // groups
        for position in range(start, stop):
            oh, ow = position // dy.shape[2], position % dy.shape[2]
            top, left = oh * window.stride_h - window.pad_top, ow * window.stride_w - window.pad_left
            d_weight[oh, ow] = 0
            for n in range(x.shape[0]):
                gradient = dy[n, oh, ow]
                for i in range(max(0, -top), min(window.size_h, height - top)):
                    for j in range(max(0, -left), min(window.size_w, width - left)):
                        for c in range(x.shape[3]):
                            value, g = x[n, top + i, left + j, c], c // depth
                            kernel = d_weight[oh, ow, i, j, c - g * depth]
                            for f in range(g * share, (g + 1) * share):
                                kernel[f] += value * gradient[f]

    @backward("cpu", over="d_bias", axes=(0, 1), writes="d_bias", when=PER_OUTPUT)
    def d_bias_cpu(start, stop, dy, d_bias):
        for position in range(start, stop):
            oh, ow = position // dy.shape[2], position % dy.shape[2]
            d_bias[oh, ow] = 0
            for n in range(dy.shape[0]):
                add_row(d_bias[oh, ow], dy[n, oh, ow])

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
