"""Convolution (cross-correlation) over images, with groups, strides, asymmetric padding and windows over the edge."""

from math import prod

from netspec.layers._batch_chunks import chunk_images
from netspec.layers._cpu import bf16_conv, conv_depthwise, conv_direct, conv_gemm, conv_winograd, split_batch
from netspec.layers._cuda import conv_tiled, conv_wgmma, depthwise, mma_variants, tma_cells_variants, tma_variants
from netspec.layers._cuda.implicit_gemm import of_conv
from netspec.layers._filters import WINDOWS, image_groups, initial_bias
from netspec.layers._window import Window, onnx_window, taps, torch_conv, torch_padding, window_of
from netspec.plugin import Flops, Layer, Param, Tensor, backward, forward, pair, register


@register("conv")
class Conv(Layer):
    """y[n, oh, ow, f] = bias[f] + the sum of x[n, oh * stride - pad + i, ow * stride - pad + j, c] weight[i, j, c, f].

    x is (N, H, W, C), y (N, OH, OW, filters), weight (KH, KW, C / groups, filters), bias (filters). Group g computes
    the g-th share of the filters from the g-th share of the channels. OH is (H + padding - KH) / stride + 1, rounded
    down (``floor``) or up (``ceil``, as in cuda-convnet: 224 gives 55 with size 11 and stride 4, the last window
    hanging over the edge and reading zeros). With a ``dilation`` d a kernel reads every d-th pixel, i * d and j * d in
    place of i and j, and reaches over (KH - 1) * d + 1 rows.
    """

    attrs = {
        **WINDOWS,
        "dilation": pair("Pixels from one weight of a kernel to the next (Yu and Koltun 2016).", default=1, minimum=1),
    }
    divided = ("filters", "groups")
    mixes_channels = True
    variants = (
        conv_depthwise.VARIANT,
        bf16_conv.VARIANT,
        *conv_winograd.VARIANTS,
        conv_direct.VARIANT,
        conv_direct.STRIDED,
        conv_gemm.VARIANT,
        depthwise.VARIANT,
        *mma_variants.CONV.values(),
        *conv_wgmma.VARIANTS,
        *tma_variants.CONV,
        *tma_cells_variants.VARIANTS,
        conv_tiled.PLAIN,
    )
    kernels = (split_batch.add_bias_cpu, *split_batch.KERNELS)
    examples = (
        {"attrs": {"filters": 3, "size": 3, "pad": 1}, "inputs": [(2, 3, 4, 2)]},
        {
            "attrs": {"filters": 4, "size": [3, 2], "stride": [2, 1], "pad": [1, 0, 2, 1], "groups": 2},
            "inputs": [(2, 4, 4, 4)],
        },
        {"attrs": {"filters": 4, "size": [3, 2], "dilation": 2, "pad": 2}, "inputs": [(2, 5, 6, 2)]},
        {
            "attrs": {"filters": 4, "size": 2, "stride": 2, "dilation": [3, 2], "groups": 2, "pad": [1, 0, 3, 1]},
            "inputs": [(2, 7, 6, 4)],
        },
        {"attrs": {"filters": 4, "size": 3, "stride": 2, "pad": 1, "groups": 4}, "inputs": [(3, 6, 5, 4)]},
        {
            "attrs": {"filters": 6, "size": [2, 3], "dilation": [2, 1], "pad": 1, "groups": 6, "bias": False},
            "inputs": [(2, 5, 4, 6)],
        },
        {"attrs": {"filters": 2, "size": 3, "stride": 4, "rounding": "ceil", "bias": False}, "inputs": [(1, 5, 5, 3)]},
    )

    def outputs(self, x: Tensor) -> Tensor:
        """(N, OH, OW, filters)."""
        window = window_of(self.attrs, x)
        return Tensor((x.shape[0], *window.out, self.attrs.filters), x.dtype)

    def params(self, x: Tensor) -> dict[str, Param]:
        """weight (KH, KW, C / groups, filters) and bias (filters)."""
        window, filters = window_of(self.attrs, x), self.attrs.filters
        depth = image_groups(x.shape[3], filters, self._groups, "filters")
        fans = {"fan_in": window.area * depth, "fan_out": window.area * filters // self._groups}
        result = {"weight": Param((*window.size, depth, filters), self.attrs.init, axis=3, factor=True, **fans)}
        if self.attrs.bias:
            result["bias"] = Param((filters,), initial_bias(self.attrs), axis=0, **fans)
        return result

    def supports(self, t, variant):
        """Dilated kernels are not those of the fastest variants."""
        able = self.window(t).dilation == (1, 1) or variant in ("plain", "gemm", "depthwise")
        return able and super().supports(t, variant)

    def tensors(self, inputs):
        """With them the sizes as kernels on tensor cores know them."""
        t = super().tensors(inputs)
        t.geometry = of_conv(t, self.window(t), self._groups)
        return t

    def window(self, t) -> Window:
        """The windows over the input."""
        return window_of(self.attrs, t.x)

    def workspace(self, t, variant, direction):
        """The plain kernels have sums of the same kinds as the variant ``depthwise``."""
        own = conv_depthwise.workspace(self, t, direction) if variant == "plain" else {}
        return {**own, **super().workspace(t, variant, direction)}

    def scalars(self, t, index=None):
        """The windows, groups and images of a chunk."""
        own = {"window": self.window(t), "groups": self._groups, "chunk_images": chunk_images(t.x.shape[0])}
        return {**super().scalars(t, index), **own}

    def flops(self, t):
        """All windows counted whole, in each of the three products."""
        count = 2 * t.y.size * prod(t.weight.shape[:3])
        return Flops(count, count, count)

    def onnx(self, nodes, t, x):
        """Conv, with filters first."""
        arrays = [nodes.constant(nodes.params["weight"].transpose(3, 2, 0, 1), "weight")]
        if self.attrs.bias:
            arrays.append(nodes.constant(nodes.params["bias"], "bias"))
        return nodes.add("Conv", x, *arrays, group=self._groups, **onnx_window(self.window(t), t.x))

    def torch(self, code, t, x):
        """nn.Conv2d, with filters first."""
        window = self.window(t)
        x, padding = torch_padding(window, t.x, x)
        code.holds("weight", (3, 2, 0, 1))
        if self.attrs.bias:
            code.holds("bias")
        return f"{torch_conv(code, t.x.shape[3], self.attrs, window, padding)}({x})"

    @property
    def _groups(self) -> int:
        return self.attrs.groups or 1

    # The plain kernels, of which split_batch has the last ones -------------------------------------------------------

    @forward("cpu", over="y", axes=0, writes="y")
    def forward_cpu(start, stop, x, weight, y, sums, groups, window: Window):
        height, width = x.shape[1:3]
        size_h, size_w, depth, filters = weight.shape
        share, apart_h, apart_w = filters // groups, window.dilation_h, window.dilation_w
        for n in range(start, stop):
            for oh in range(y.shape[1]):
                top = oh * window.stride_h - window.pad_top
                above, below = taps(top, size_h, apart_h, height)
                for ow in range(y.shape[2]):
                    left = ow * window.stride_w - window.pad_left
                    before, after = taps(left, size_w, apart_w, width)
                    pixel = sums[ow]
                    pixel[:] = 0
                    for i in range(above, below):
                        for j in range(before, after):
                            for c in range(depth * groups):
                                value, g = x[n, top + i * apart_h, left + j * apart_w, c], c // depth
                                for f in range(g * share, (g + 1) * share):
                                    pixel[f] += value * weight[i, j, c - g * depth, f]
                y[n, oh] = sums

    @backward("cpu", over="d_x", axes=0, writes="d_x")
    def d_x_cpu(start, stop, weight, dy, d_x, image, groups, window: Window):
        height, width = d_x.shape[1:3]
        size_h, size_w, depth, filters = weight.shape
        share, apart_h, apart_w = filters // groups, window.dilation_h, window.dilation_w
        for n in range(start, stop):
            image[:] = 0
            for oh in range(dy.shape[1]):
                top = oh * window.stride_h - window.pad_top
                above, below = taps(top, size_h, apart_h, height)
                for ow in range(dy.shape[2]):
                    left = ow * window.stride_w - window.pad_left
                    before, after = taps(left, size_w, apart_w, width)
                    for i in range(above, below):
                        for j in range(before, after):
                            for c in range(depth * groups):
                                g = c // depth
                                total = 0.0
                                for f in range(g * share, (g + 1) * share):
                                    total += dy[n, oh, ow, f] * weight[i, j, c - g * depth, f]
                                image[top + i * apart_h, left + j * apart_w, c] += total
            d_x[n] = image

    @backward("cpu", over="partials", axes=0, writes="partials")
    def d_weight_chunk(start, stop, x, dy, partials, chunk_images, groups, window: Window):
        height, width, depth = x.shape[1], x.shape[2], x.shape[3] // groups
        size_h, size_w, share = window.size_h, window.size_w, dy.shape[3] // groups
        apart_h, apart_w = window.dilation_h, window.dilation_w
        for chunk in range(start, stop):
            total = partials[chunk].reshape(size_h, size_w, depth, dy.shape[3])
            total[:] = 0
            for n in range(chunk * chunk_images, min((chunk + 1) * chunk_images, x.shape[0])):
                for oh in range(dy.shape[1]):
                    top = oh * window.stride_h - window.pad_top
                    above, below = taps(top, size_h, apart_h, height)
                    for ow in range(dy.shape[2]):
                        left = ow * window.stride_w - window.pad_left
                        before, after = taps(left, size_w, apart_w, width)
                        for i in range(above, below):
                            for j in range(before, after):
                                for c in range(depth * groups):
                                    value, g = x[n, top + i * apart_h, left + j * apart_w, c], c // depth
                                    for f in range(g * share, (g + 1) * share):
                                        total[i, j, c - g * depth, f] += value * dy[n, oh, ow, f]
