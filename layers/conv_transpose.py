"""Transposed convolution, also called deconvolution: images made larger by learned kernels (Zeiler et al. 2010)."""

from netspec.layers._batch_chunks import chunk_images
from netspec.layers._cpu import conv_transpose_gemm, split_batch
from netspec.layers._cuda import conv_transpose_tiled
from netspec.layers._filters import WINDOWS, image_groups, initial_bias
from netspec.layers._window import Window, pair_of, sides_of, taps, transposed_window_of
from netspec.plugin import Flops, Layer, Param, Tensor, Workspace, backward, forward, pair, register

OWN = ("filters", "size", "stride", "pad", "groups", "bias", "init", "bias_init")
MODULE = '''
class GroupedConvTranspose2d(nn.Module):
    """The weight is (channels of a group, filters, height, width)."""

    def __init__(self, weight, bias, groups, **windows):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(weight))
        self.register_parameter("bias", nn.Parameter(torch.zeros(weight[1])) if bias else None)
        self.groups, self.windows = groups, windows

    def forward(self, x):
        weight = self.weight.unflatten(1, (self.groups, -1)).movedim(1, 0).flatten(0, 1)
        return F.conv_transpose2d(x, weight, self.bias, groups=self.groups, **self.windows)
'''


@register("conv_transpose")
class ConvTranspose(Layer):
    """y[n, h * stride - pad + i, w * stride - pad + j, f] gets x[n, h, w, c] weight[i, j, c, f], summed, and bias[f].

    What a convolution of these settings does backwards. x is (N, H, W, C), y (N, OH, OW, filters), weight (KH, KW,
    C / groups, filters), bias (filters); group g computes the g-th share of the filters from the g-th share of the
    channels. OH is (H - 1) * stride - padding + (KH - 1) * dilation + 1 + output_pad: padding is cut off.
    """

    attrs = {
        **{name: WINDOWS[name] for name in OWN},
        "stride": pair("Pixels of y from one pixel of x to the next.", default=1, minimum=1),
        "pad": {**WINDOWS["pad"], "description": "Rows and columns that are cut off y."},
        "output_pad": pair("Rows below and columns at the right that y has besides; less than stride.", default=0),
        "dilation": pair("Pixels from one weight of a kernel to the next.", default=1, minimum=1),
    }
    divided = ("filters", "groups")
    mixes_channels = True
    variants = (conv_transpose_gemm.VARIANT, conv_transpose_tiled.PLAIN)
    kernels = (split_batch.add_bias_cpu, conv_transpose_gemm.d_weight_turned, *split_batch.BIAS)
    examples = (
        {"attrs": {"filters": 3, "size": 4, "stride": 2, "pad": 1}, "inputs": [(2, 3, 4, 2)]},
        {
            "attrs": {"filters": 4, "size": [3, 2], "stride": [2, 1], "pad": [1, 0, 0, 1], "groups": 2},
            "inputs": [(2, 4, 3, 6)],
        },
        {
            "attrs": {"filters": 2, "size": 2, "stride": 3, "output_pad": [2, 1], "dilation": [1, 2], "bias": False},
            "inputs": [(1, 3, 2, 3)],
        },
        {"attrs": {"filters": 36, "size": 3, "stride": 2, "pad": 1, "output_pad": 1}, "inputs": [(3, 5, 6, 34)]},
    )

    def outputs(self, x: Tensor) -> Tensor:
        """(N, OH, OW, filters)."""
        _, shape = transposed_window_of(self.attrs, x)
        return Tensor((x.shape[0], *shape, self.attrs.filters), x.dtype)

    def params(self, x: Tensor) -> dict[str, Param]:
        """weight (KH, KW, C / groups, filters) and bias (filters)."""
        (window, _), filters = transposed_window_of(self.attrs, x), self.attrs.filters
        depth = image_groups(x.shape[3], filters, self._groups, "filters")
        reached = max(1, window.area // (window.stride_h * window.stride_w))
        fans = {"fan_in": reached * depth, "fan_out": window.area * filters // self._groups}
        result = {"weight": Param((*window.size, depth, filters), self.attrs.init, axis=3, factor=True, **fans)}
        if self.attrs.bias:
            result["bias"] = Param((filters,), initial_bias(self.attrs), axis=0, **fans)
        return result

    def window(self, t) -> Window:
        """The windows over the output, one for each pixel of the input."""
        return transposed_window_of(self.attrs, t.x)[0]

    def workspace(self, t, variant, direction):
        """The plain kernels' sums, which are float32 whatever is stored: of an image of y, of a pixel of d_x."""
        shared = super().workspace(t, variant, direction)
        if variant != "plain":
            return shared
        if direction == "forward":
            return {"image": Workspace(t.y.shape[1:], per="member"), **shared}
        return {"sums": Workspace(t.x.shape[3:], per="member"), **split_batch.workspace(t), **shared}

    def scalars(self, t, index=None):
        """The windows, groups and images of a chunk."""
        own = {"window": self.window(t), "groups": self._groups, "chunk_images": chunk_images(t.x.shape[0])}
        return {**super().scalars(t, index), **own}

    def flops(self, t):
        """All windows counted whole, in each of the three products."""
        count = 2 * t.x.size * (t.weight.size // t.x.shape[3])
        return Flops(count, count, count)

    def onnx(self, nodes, t, x):
        """ConvTranspose, of weights with channels first."""
        window, groups = self.window(t), self._groups
        size, depth, filters = window.size, *t.weight.shape[2:]
        weight = nodes.params["weight"].reshape(*size, depth, groups, filters // groups)
        weight = weight.transpose(3, 2, 4, 0, 1).reshape(depth * groups, filters // groups, *size)
        arrays = [nodes.constant(weight, "weight")]
        if self.attrs.bias:
            arrays.append(nodes.constant(nodes.params["bias"], "bias"))
        top, bottom, left, right = sides_of(self.attrs.pad)
        own = {"pads": [top, left, bottom, right], "output_padding": list(pair_of(self.attrs.output_pad))}
        apart = {"strides": list(window.stride), "dilations": list(window.dilation), "kernel_shape": list(size)}
        return nodes.add("ConvTranspose", x, *arrays, group=groups, **own, **apart)

    def torch(self, code, t, x):
        """nn.ConvTranspose2d, or a module of its own where there are groups; what is uneven is cut off behind it."""
        own, window, groups = self.attrs, self.window(t), self._groups
        top, bottom, left, right = sides_of(own.pad)
        down, along = pair_of(own.output_pad)
        even, cut = (top, left) == (bottom, right), ""
        if not even:
            cut = f"({-left}, {min(0, along - right)}, {-top}, {min(0, down - bottom)})"
            down, along = max(0, down - bottom), max(0, along - right)
        options = {"stride": window.stride, "padding": (top, left) if even else (0, 0), "output_padding": (down, along)}
        options = {key: one for key, one in options.items() if one != ((1, 1) if key == "stride" else (0, 0))}
        options |= {"dilation": window.dilation} if window.dilation != (1, 1) else {}
        code.holds("weight", (2, 3, 0, 1))
        if own.bias:
            code.holds("bias")
        if groups > 1:
            shape = (*t.weight.shape[2:], *window.size)
            module = code.module(code.helper("GroupedConvTranspose2d", MODULE), shape, own.bias, groups, **options)
        else:
            options |= {} if own.bias else {"bias": False}
            module = code.module("nn.ConvTranspose2d", t.x.shape[3], own.filters, window.size, **options)
        return f"F.pad({module}({x}), {cut})" if cut else f"{module}({x})"

    @property
    def _groups(self) -> int:
        return self.attrs.groups or 1

    # The plain kernels, of which others have the last ones -----------------------------------------------------------

    @forward("cpu", over="y", axes=0, writes="y")
    def forward_cpu(start, stop, x, weight, y, image, groups, window: Window):
        size_h, size_w, depth, filters = weight.shape
        share = filters // groups
        for n in range(start, stop):
            image[:] = 0
            for h in range(x.shape[1]):
                top = h * window.stride_h - window.pad_top
                above, below = taps(top, size_h, window.dilation_h, y.shape[1])
                for w in range(x.shape[2]):
                    left = w * window.stride_w - window.pad_left
                    before, after = taps(left, size_w, window.dilation_w, y.shape[2])
                    for i in range(above, below):
                        for j in range(before, after):
                            pixel = image[top + i * window.dilation_h, left + j * window.dilation_w]
                            for c in range(depth * groups):
                                value, g = x[n, h, w, c], c // depth
                                for f in range(g * share, (g + 1) * share):
                                    pixel[f] += value * weight[i, j, c - g * depth, f]
            y[n] = image

    @backward("cpu", over="d_x", axes=0, writes="d_x")
    def d_x_cpu(start, stop, weight, dy, d_x, sums, groups, window: Window):
        size_h, size_w, depth, filters = weight.shape
        share = filters // groups
        for n in range(start, stop):
            for h in range(d_x.shape[1]):
                top = h * window.stride_h - window.pad_top
                above, below = taps(top, size_h, window.dilation_h, dy.shape[1])
                for w in range(d_x.shape[2]):
                    left = w * window.stride_w - window.pad_left
                    before, after = taps(left, size_w, window.dilation_w, dy.shape[2])
                    sums[:] = 0
                    for i in range(above, below):
                        for j in range(before, after):
                            pixel = dy[n, top + i * window.dilation_h, left + j * window.dilation_w]
                            for c in range(depth * groups):
                                g, total = c // depth, 0.0
                                for f in range(g * share, (g + 1) * share):
                                    total += pixel[f] * weight[i, j, c - g * depth, f]
                                sums[c] += total
                    d_x[n, h, w] = sums

    @backward("cpu", over="partials", axes=0, writes="partials")
    def d_weight_chunk(start, stop, x, dy, partials, chunk_images, groups, window: Window):
        depth, share = x.shape[3] // groups, dy.shape[3] // groups
        for chunk in range(start, stop):
            total = partials[chunk].reshape(window.size_h, window.size_w, share, x.shape[3])
            total[:] = 0
            for n in range(chunk * chunk_images, min((chunk + 1) * chunk_images, x.shape[0])):
                for h in range(x.shape[1]):
                    top = h * window.stride_h - window.pad_top
                    above, below = taps(top, window.size_h, window.dilation_h, dy.shape[1])
                    for w in range(x.shape[2]):
                        left = w * window.stride_w - window.pad_left
                        before, after = taps(left, window.size_w, window.dilation_w, dy.shape[2])
                        for i in range(above, below):
                            for j in range(before, after):
                                pixel = dy[n, top + i * window.dilation_h, left + j * window.dilation_w]
                                for f in range(share):
                                    for c in range(x.shape[3]):
                                        total[i, j, f, c] += x[n, h, w, c] * pixel[c // depth * share + f]
