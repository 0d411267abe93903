"""Convolution (cross-correlation) over images, with groups, strides, asymmetric padding and windows over the edge."""

from dataclasses import replace
from math import prod

from netspec.layers._cpu import conv_direct as direct
from netspec.layers._cpu import conv_gemm as gemm
from netspec.layers._cpu import conv_winograd as winograd
from netspec.layers._cpu.im2col import chunk_images, chunks, rows_at_once
from netspec.layers._cuda import column_sums
from netspec.layers._cuda import conv_mma as mma
from netspec.layers._cuda import conv_tiled as on_cuda
from netspec.layers._cuda import conv_wgmma as wgmma
from netspec.layers._cuda.implicit_gemm_shapes import of_conv
from netspec.layers._window import image_groups, initial_bias, window_of
from netspec.plugin import (
    Flops,
    Layer,
    Param,
    Tensor,
    Workspace,
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


def _also(variant, *kernels):
    """The same passes for another variant."""
    return tuple(replace(kernel, variant=variant) for kernel in kernels)


@register("conv")
class Conv(Layer):
    """y[n, oh, ow, f] = bias[f] + the sum of x[n, oh * stride - pad + i, ow * stride - pad + j, c] weight[i, j, c, f].

    x is (N, H, W, C), y (N, OH, OW, filters), weight (KH, KW, C / groups, filters), bias (filters). Group g computes
    the g-th share of the filters from the g-th share of the channels. OH is (H + padding - KH) / stride + 1, rounded
    down (``floor``) or up (``ceil``, as in cuda-convnet: 224 gives 55 with size 11 and stride 4, the last window
    hanging over the edge and reading zeros).
    """

    attrs = {
        "filters": integer("Kernels, and so channels of the output.", minimum=1),
        "size": pair("Height and width of the kernels.", minimum=1),
        "stride": pair("Pixels between neighbouring windows.", default=1, minimum=1),
        "pad": padding("Zeros round the image."),
        "groups": integer("Channels and filters are cut in as many parts.", default=None, minimum=1),
        "rounding": choice("floor", "ceil", default="floor", description="Whether windows may hang over the edge."),
        "bias": boolean("Whether each filter adds a bias.", default=True),
        "init": initialiser("How the weights start.", default={"type": "gaussian", "std": 0.01}),
        "bias_init": number("Where the biases start.", default=0.0),
    }
    divided = ("filters", "groups")
    mixes_channels = True
    prefer = {"cpu": ("winograd", "direct", "direct_strided", "gemm"), "cuda": (*mma.VARIANTS, *wgmma.VARIANTS)}
    bounds = {"winograd": winograd.BOUND, **mma.BOUNDS_OF, **wgmma.BOUNDS_OF}
    needs = wgmma.NEEDS
    examples = (
        {"attrs": {"filters": 3, "size": 3, "pad": 1}, "inputs": [(2, 3, 4, 2)]},
        {
            "attrs": {"filters": 4, "size": [3, 2], "stride": [2, 1], "pad": [1, 0, 2, 1], "groups": 2},
            "inputs": [(2, 4, 4, 4)],
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
        result = {"weight": Param((*window.size, depth, filters), self.attrs.init, axis=3, **fans)}
        if self.attrs.bias:
            result["bias"] = Param((filters,), initial_bias(self.attrs), axis=0, **fans)
        return result

    def tensors(self, inputs):
        """With them the sizes as kernels on tensor cores know them."""
        t = super().tensors(inputs)
        t.geometry = of_conv(t, window_of(self.attrs, t.x), self._groups)
        return t

    def workspace(self, t, variant, direction):
        """Patches or packed operands, and the gradients of parts of the batch."""
        spaces = {}
        patch, filters = prod(t.weight.shape[:3]), t.weight.shape[3]
        if variant in ("gemm", "direct_strided"):
            spaces["columns"] = Workspace((self._rows(t) * t.y.shape[2], patch), t.x.dtype, per="member")
        if direction == "backward":
            spaces["partials"] = Workspace((chunks(t.x.shape[0]), t.weight.size), t.x.dtype)
            spaces["image_bias"] = Workspace((t.x.shape[0], filters), t.x.dtype)
            spaces |= column_sums.workspace(t)
            if variant == "gemm":
                spaces["product"] = Workspace((patch, filters // self._groups), t.x.dtype, per="member")
        if variant.startswith("direct"):
            spaces |= direct.workspace(t, window_of(self.attrs, t.x), self._groups, direction)
        if variant == "winograd":
            spaces |= winograd.workspace(t, self._groups, direction)
        if variant in mma.VARIANTS:
            spaces |= mma.workspace(t, direction)
        if variant in wgmma.VARIANTS:
            spaces |= wgmma.workspace(t, direction)
        return spaces

    def supports(self, t, variant):
        """Without a stride d_x is a convolution too, with one it is left to patches; Winograd is for 3 x 3 windows."""
        window = window_of(self.attrs, t.x)
        if variant in mma.VARIANTS or variant in wgmma.VARIANTS:
            return mma.supports(t)
        if variant == "winograd":
            return winograd.pays(t, window, self._groups, self.phase == "train")
        return {"direct": window.stride == (1, 1), "direct_strided": window.stride != (1, 1)}.get(variant, True)

    def scalars(self, t, index=None):
        """The window's numbers, images of a chunk and rows of one patch matrix."""
        numbers = {**window_of(self.attrs, t.x).scalars, **mma.scalars(t.geometry), **wgmma.scalars(t.geometry)}
        return {**numbers, "groups": self._groups, "images": chunk_images(t.x.shape[0]), "rows": self._rows(t)}

    def rank(self, t, direction, variants):
        """Tiles of tensor cores by the shapes."""
        return mma.ranked(variants, t.geometry, direction)

    def flops(self, t):
        """All windows counted whole, in each of the three products."""
        count = 2 * t.y.size * prod(t.weight.shape[:3])
        return Flops(count, count, count)

    @property
    def _groups(self) -> int:
        return self.attrs.groups or 1

    def _rows(self, t) -> int:
        return rows_at_once(t.y.shape[2], prod(t.weight.shape[:3]), t.y.shape[0] * t.y.shape[1])

    # Plain -----------------------------------------------------------------------------------------------------------

    @forward("cpu", over="y", axes=0, writes="y")
    def forward_cpu(start, stop, x, weight, y, groups, stride_h, stride_w, pad_top, pad_left):
        height, width = x.shape[1:3]
        size_h, size_w, depth, filters = weight.shape
        share = filters // groups
        for n in range(start, stop):
            for oh in range(y.shape[1]):
                top = oh * stride_h - pad_top
                for ow in range(y.shape[2]):
                    left = ow * stride_w - pad_left
                    pixel = y[n, oh, ow]
                    pixel[:] = 0
                    for i in range(max(0, -top), min(size_h, height - top)):
                        for j in range(max(0, -left), min(size_w, width - left)):
                            for c in range(depth * groups):
                                value, g = x[n, top + i, left + j, c], c // depth
                                for f in range(g * share, (g + 1) * share):
                                    pixel[f] += value * weight[i, j, c - g * depth, f]

    @forward("cpu", over="y", axes=0, writes="y", when={"bias": True})
    def add_bias_cpu(start, stop, bias, y):
        for n in range(start, stop):
            for oh in range(y.shape[1]):
                for ow in range(y.shape[2]):
                    for f in range(y.shape[3]):
                        y[n, oh, ow, f] += bias[f]

    @backward("cpu", over="d_x", axes=0, writes="d_x")
    def d_x_cpu(start, stop, weight, dy, d_x, groups, stride_h, stride_w, pad_top, pad_left):
        height, width = d_x.shape[1:3]
        size_h, size_w, depth, filters = weight.shape
        share = filters // groups
        d_x[start:stop] = 0
        for n in range(start, stop):
            for oh in range(dy.shape[1]):
                top = oh * stride_h - pad_top
                for ow in range(dy.shape[2]):
                    left = ow * stride_w - pad_left
                    for i in range(max(0, -top), min(size_h, height - top)):
                        for j in range(max(0, -left), min(size_w, width - left)):
                            for c in range(depth * groups):
                                g = c // depth
                                total = 0.0
                                for f in range(g * share, (g + 1) * share):
                                    total += dy[n, oh, ow, f] * weight[i, j, c - g * depth, f]
                                d_x[n, top + i, left + j, c] += total

    @backward("cpu", over="partials", axes=0, writes="partials")
    def d_weight_chunk(
        start, stop, x, dy, partials, images, groups, size_h, size_w, stride_h, stride_w, pad_top, pad_left
    ):
        height, width, depth = x.shape[1], x.shape[2], x.shape[3] // groups
        share = dy.shape[3] // groups
        for chunk in range(start, stop):
            total = partials[chunk].reshape(size_h, size_w, depth, dy.shape[3])
            total[:] = 0
            for n in range(chunk * images, min((chunk + 1) * images, x.shape[0])):
                for oh in range(dy.shape[1]):
                    top = oh * stride_h - pad_top
                    for ow in range(dy.shape[2]):
                        left = ow * stride_w - pad_left
                        for i in range(max(0, -top), min(size_h, height - top)):
                            for j in range(max(0, -left), min(size_w, width - left)):
                                for c in range(depth * groups):
                                    value, g = x[n, top + i, left + j, c], c // depth
                                    for f in range(g * share, (g + 1) * share):
                                        total[i, j, c - g * depth, f] += value * dy[n, oh, ow, f]

    @backward("cpu", over="d_weight", writes="d_weight")
    def d_weight_sum(start, stop, partials, d_weight):
        total = d_weight[start:stop]
        total[:] = partials[0, start:stop]
        for chunk in range(1, partials.shape[0]):
            total += partials[chunk, start:stop]

    @backward("cpu", over="image_bias", axes=0, writes="image_bias", when={"bias": True})
    def d_bias_image(start, stop, dy, image_bias):
        for n in range(start, stop):
            total = image_bias[n]
            total[:] = 0
            for oh in range(dy.shape[1]):
                for ow in range(dy.shape[2]):
                    for f in range(dy.shape[3]):
                        total[f] += dy[n, oh, ow, f]

    @backward("cpu", over="d_bias", writes="d_bias", when={"bias": True})
    def d_bias_sum(start, stop, image_bias, d_bias):
        for f in range(start, stop):
            total = 0.0
            for n in range(image_bias.shape[0]):
                total += image_bias[n, f]
            d_bias[f] = total

    # Matrix products -------------------------------------------------------------------------------------------------

    forward_gemm, forward_gemm_unbiased = gemm.forward_gemm, gemm.forward_gemm_unbiased
    d_x_gemm, d_weight_chunk_gemm = gemm.d_x_gemm, gemm.d_weight_chunk_gemm
    d_weight_sum_gemm, d_bias_image_gemm, d_bias_sum_gemm = _also("gemm", d_weight_sum, d_bias_image, d_bias_sum)

    # Straight from the image -----------------------------------------------------------------------------------------

    pack_direct, pack_direct_unbiased = direct.pack_direct, direct.pack_direct_unbiased
    forward_direct, pack_flipped, d_x_direct = direct.forward_direct, direct.pack_flipped, direct.d_x_direct
    d_weight_chunk_direct = direct.d_weight_chunk_direct
    d_weight_sum_direct, d_bias_image_direct, d_bias_sum_direct = _also(
        "direct", d_weight_sum, d_bias_image, d_bias_sum
    )
    pack_strided, pack_strided_unbiased, forward_strided, d_x_strided, d_weight_chunk_strided = _also(
        "direct_strided", pack_direct, pack_direct_unbiased, forward_direct, d_x_gemm, d_weight_chunk_direct
    )
    d_weight_sum_strided, d_bias_image_strided, d_bias_sum_strided = _also(
        "direct_strided", d_weight_sum, d_bias_image, d_bias_sum
    )

    # Winograd --------------------------------------------------------------------------------------------------------

    start_winograd, start_unbiased = winograd.start_winograd, winograd.start_unbiased
    pack_winograd, forward_winograd = winograd.pack_winograd, winograd.forward_winograd
    start_flipped, pack_flipped_winograd = winograd.start_flipped, winograd.pack_flipped_winograd
    d_x_winograd, d_weight_chunk_winograd = winograd.d_x_winograd, winograd.d_weight_chunk_winograd
    d_weight_sum_winograd, d_bias_image_winograd, d_bias_sum_winograd = _also(
        "winograd", d_weight_sum, d_bias_image, d_bias_sum
    )

    # CUDA ------------------------------------------------------------------------------------------------------------

    forward_cuda, forward_unbiased_cuda = on_cuda.forward_cuda, on_cuda.forward_unbiased_cuda
    d_x_cuda, d_weight_chunk_cuda = on_cuda.d_x_cuda, on_cuda.d_weight_chunk_cuda
    d_weight_sum_cuda, d_bias_chunk_cuda = column_sums.d_weight_sum_cuda, column_sums.d_bias_chunk_cuda
    d_bias_sum_cuda = column_sums.d_bias_sum_cuda

    # Tensor cores ----------------------------------------------------------------------------------------------------

    vars().update(mma.passes((d_weight_sum_cuda, d_bias_chunk_cuda, d_bias_sum_cuda)))
    vars().update(wgmma.passes((d_weight_sum_cuda, d_bias_chunk_cuda, d_bias_sum_cuda), vars()))
