"""Convolution over volumes and sequences of images, with groups, strides, padding and dilation."""

from math import prod

from netspec.layers._filters import WINDOWS, image_groups, initial_bias
from netspec.layers._volume import (
    SIZES,
    Volume,
    element5,
    onnx_volume,
    taps,
    torch_padded,
    triple,
    volume_of,
    window_at,
)
from netspec.plugin import Flops, Layer, Param, Tensor, backward, cuda, device, forward, register

BLOCK, THREADS, BIAS = 256, 128, {"bias": True}
ALL = (0, 1, 2, 3, 4)


@device
def product(x, weight, i, y, groups, volume):
    """Element i of y without its bias."""
    n, od, oh, ow, f = element5(i, y)
    depth, share = weight.shape[3], weight.shape[4] // groups
    first = f // share * depth
    front, top = od * volume.stride_d - volume.pad_d, oh * volume.stride_h - volume.pad_h
    left = ow * volume.stride_w - volume.pad_w
    d0, d1 = taps(front, volume.size_d, volume.apart_d, x.shape[1])
    h0, h1 = taps(top, volume.size_h, volume.apart_h, x.shape[2])
    w0, w1 = taps(left, volume.size_w, volume.apart_w, x.shape[3])
    total = 0.0
    for p in range(d0, d1):
        for q in range(h0, h1):
            row = 0.0
            for r in range(w0, w1):
                for c in range(depth):
                    d, h, w = front + p * volume.apart_d, top + q * volume.apart_h, left + r * volume.apart_w
                    row += x[n, d, h, w, first + c] * weight[p, q, r, c, f]
            total += row
    return total


@device
def input_gradient(dy, weight, i, d_x, groups, volume):
    """That of element i of x: of all windows that it lies in, and all filters of its group."""
    n, d, h, w, c = element5(i, d_x)
    depth, share = weight.shape[3], weight.shape[4] // groups
    first = c // depth * share
    total = 0.0
    for p in range(volume.size_d):
        od = window_at(d, p, volume.stride_d, volume.pad_d, volume.apart_d, dy.shape[1])
        for q in range(volume.size_h if od >= 0 else 0):
            oh = window_at(h, q, volume.stride_h, volume.pad_h, volume.apart_h, dy.shape[2])
            row = 0.0
            for r in range(volume.size_w if oh >= 0 else 0):
                ow = window_at(w, r, volume.stride_w, volume.pad_w, volume.apart_w, dy.shape[3])
                for f in range(first, first + share if ow >= 0 else first):
                    row += dy[n, od, oh, ow, f] * weight[p, q, r, c % depth, f]
            total += row
    return total


@device
def weight_gradient(x, dy, i, d_weight, groups, volume):
    """That of element i of the weight: sums of rows, of planes, of images."""
    p, q, r, c, f = element5(i, d_weight)
    channel = f // (d_weight.shape[4] // groups) * d_weight.shape[3] + c
    total = 0.0
    for n in range(x.shape[0]):
        image = 0.0
        for od in range(dy.shape[1]):
            d, plane = od * volume.stride_d - volume.pad_d + p * volume.apart_d, 0.0
            for oh in range(dy.shape[2] if 0 <= d < x.shape[1] else 0):
                h, row = oh * volume.stride_h - volume.pad_h + q * volume.apart_h, 0.0
                for ow in range(dy.shape[3] if 0 <= h < x.shape[2] else 0):
                    w = ow * volume.stride_w - volume.pad_w + r * volume.apart_w
                    if 0 <= w < x.shape[3]:
                        row += x[n, d, h, w, channel] * dy[n, od, oh, ow, f]
                plane += row
            image += plane
        total += image
    return total


@device
def bias_gradient(dy, f):
    """That of a filter's bias."""
    total = 0.0
    for n in range(dy.shape[0]):
        image = 0.0
        for od in range(dy.shape[1]):
            for oh in range(dy.shape[2]):
                row = 0.0
                for ow in range(dy.shape[3]):
                    row += dy[n, od, oh, ow, f]
                image += row
        total += image
    return total


@register("conv3d")
class Conv3d(Layer):
    """y[n, od, oh, ow, f] = bias[f] + the sum of x[n, d, h, w, c] weight[i, j, k, c, f] over the window (od, oh, ow)

    x is (N, D, H, W, C), a volume or D frames; y (N, OD, OH, OW, filters), weight (KD, KH, KW, C / groups, filters),
    bias (filters); d is od * stride - pad + i * dilation, so for h and w. Groups and rounding are as in ``conv``.
    Kernels are plain ones: each thread computes an element. PyTorch's Conv3d (Tran et al. 2015).
    """

    attrs = {
        **{name: schema for name, schema in WINDOWS.items() if name not in ("size", "stride", "pad")},
        "size": triple("Depth, height and width of the kernels.", minimum=1),
        **SIZES,
    }
    divided = ("filters", "groups")
    mixes_channels = True
    examples = (
        {"attrs": {"filters": 3, "size": [2, 3, 3], "pad": [0, 1, 1]}, "inputs": [(2, 3, 3, 4, 2)]},
        {
            "attrs": {"filters": 4, "size": [3, 2, 1], "stride": [1, 2, 2], "pad": [1, 0, 2, 1, 0, 0], "groups": 2},
            "inputs": [(2, 3, 4, 3, 4)],
        },
        {
            "attrs": {"filters": 2, "size": 2, "dilation": [1, 2, 2], "stride": 2, "rounding": "ceil", "bias": False},
            "inputs": [(1, 4, 5, 4, 3)],
        },
    )

    def outputs(self, x):
        _, out = volume_of(self.attrs, x)
        return Tensor((x.shape[0], *out, self.attrs.filters), x.dtype)

    def params(self, x):
        """weight (KD, KH, KW, C / groups, filters) and bias (filters)."""
        (volume, _), filters = volume_of(self.attrs, x), self.attrs.filters
        depth = image_groups(x.shape[4], filters, self._groups, "filters")
        fans = {"fan_in": volume.area * depth, "fan_out": volume.area * filters // self._groups}
        result = {"weight": Param((*volume.size, depth, filters), self.attrs.init, axis=4, factor=True, **fans)}
        if self.attrs.bias:
            result["bias"] = Param((filters,), initial_bias(self.attrs), axis=0, **fans)
        return result

    def scalars(self, t, index=None):
        return {"volume": volume_of(self.attrs, t.x)[0], "groups": self._groups}

    def flops(self, t):
        """All windows counted whole, in each of the three products."""
        count = 2 * t.y.size * prod(t.weight.shape[:4])
        return Flops(count, count, count)

    def onnx(self, nodes, t, x):
        """Conv of the volume, channels and filters first."""
        volume, out = volume_of(self.attrs, t.x)
        arrays = [nodes.constant(nodes.params["weight"].transpose(4, 3, 0, 1, 2), "weight")]
        if self.attrs.bias:
            arrays.append(nodes.constant(nodes.params["bias"], "bias"))
        moved = nodes.add("Transpose", x, perm=[0, 2, 1, 3, 4])
        made = nodes.add("Conv", moved, *arrays, group=self._groups, **onnx_volume(volume, out, t.x))
        return nodes.add("Transpose", made, perm=[0, 2, 1, 3, 4])

    def torch(self, code, t, x):
        """nn.Conv3d of the volume, filters first."""
        volume, out = volume_of(self.attrs, t.x)
        code.holds("weight", (4, 3, 0, 1, 2))
        if self.attrs.bias:
            code.holds("bias")
        rest = {"stride": volume.stride, "dilation": volume.apart, "groups": self._groups, "bias": self.attrs.bias}
        module = code.module("nn.Conv3d", t.x.shape[4], self.attrs.filters, volume.size, **rest)
        return f"{module}({torch_padded(volume, out, t.x, f'{x}.transpose(1, 2)')}).transpose(1, 2)"

    @property
    def _groups(self):
        return self.attrs.groups or 1

    @forward("cpu", over="y", axes=ALL, block=BLOCK, writes="y")
    def forward_cpu(start, stop, x, weight, y, groups, volume: Volume):
        flat = y.reshape(y.size)
        for i in range(start, stop):
            flat[i] = product(x, weight, i, y, groups, volume)

    @forward("cpu", over="y", axes=ALL, block=BLOCK, writes="y", when=BIAS)
    def add_bias_cpu(start, stop, bias, y):
        flat = y.reshape(y.size)
        for i in range(start, stop):
            flat[i] += bias[i % bias.size]

    @backward("cpu", over="d_x", axes=ALL, block=BLOCK, writes="d_x")
    def d_x_cpu(start, stop, dy, weight, d_x, groups, volume: Volume):
        flat = d_x.reshape(d_x.size)
        for i in range(start, stop):
            flat[i] = input_gradient(dy, weight, i, d_x, groups, volume)

    @backward("cpu", over="d_weight", axes=ALL, block=1, writes="d_weight")
    def d_weight_cpu(start, stop, x, dy, d_weight, groups, volume: Volume):
        flat = d_weight.reshape(d_weight.size)
        for i in range(start, stop):
            flat[i] = weight_gradient(x, dy, i, d_weight, groups, volume)

    @backward("cpu", over="d_bias", axes=0, writes="d_bias", when=BIAS)
    def d_bias_cpu(start, stop, dy, d_bias):
        for f in range(start, stop):
            d_bias[f] = bias_gradient(dy, f)

    @forward("cuda", over="y", axes=ALL, threads=THREADS, writes="y")
    def forward_cuda(x, weight, y, groups, volume: Volume):
        i = cuda.grid(1)
        if i < y.size:
            y.flat[i] = product(x, weight, i, y, groups, volume)

    @forward("cuda", over="y", axes=ALL, threads=THREADS, writes="y", when=BIAS)
    def add_bias_cuda(bias, y):
        i = cuda.grid(1)
        if i < y.size:
            y.flat[i] += bias[i % bias.size]

    @backward("cuda", over="d_x", axes=ALL, threads=THREADS, writes="d_x")
    def d_x_cuda(dy, weight, d_x, groups, volume: Volume):
        i = cuda.grid(1)
        if i < d_x.size:
            d_x.flat[i] = input_gradient(dy, weight, i, d_x, groups, volume)

    @backward("cuda", over="d_weight", axes=ALL, threads=THREADS, writes="d_weight")
    def d_weight_cuda(x, dy, d_weight, groups, volume: Volume):
        i = cuda.grid(1)
        if i < d_weight.size:
            d_weight.flat[i] = weight_gradient(x, dy, i, d_weight, groups, volume)

    @backward("cuda", over="d_bias", axes=0, threads=32, writes="d_bias", when=BIAS)
    def d_bias_cuda(dy, d_bias):
        f = cuda.grid(1)
        if f < d_bias.size:
            d_bias[f] = bias_gradient(dy, f)
