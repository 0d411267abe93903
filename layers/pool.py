"""Pooling over windows of an image, overlapping or not: maximum or average."""

from netspec.layers._cpu import pool_rows, pool_vectors
from netspec.layers._cuda import pool_float4, pool_plain
from netspec.layers._window import (
    WHOLE,
    Counted,
    Window,
    clip_apart,
    counted_of,
    covering_columns,
    covering_rows,
    onnx_window,
    pixels_counted,
    place_apart,
    reads_some,
    torch_count,
    window_of,
)
from netspec.plugin import (
    Flops,
    Layer,
    LayerError,
    Tensor,
    Workspace,
    backward,
    boolean,
    choice,
    forward,
    padding,
    pair,
    register,
)

MAX, AVERAGE = {"mode": "max"}, {"mode": "average"}
TRAIN, REST = ("train",), ("eval", "predict")
_BYTE = 256
"""Places that a byte tells apart."""


def _torch_counted(window, x, counted, value):
    """PyTorch code of ones where averages count a pixel, padding among them or not, and zeros where they do not."""
    top, left, bottom, right = onnx_window(window, x)["pads"]
    inner = (-counted.left, counted.right - x.shape[2], -counted.top, counted.bottom - x.shape[1])
    outer = tuple(max(0, pad - own) for pad, own in zip((left, right, top, bottom), inner, strict=True))
    return f"F.pad(F.pad(torch.ones_like({value}[:1, :1]), {inner}, value=1.0), {outer})"


@register("pool")
class Pool(Layer):
    """y[n, oh, ow, c] = the maximum or the average of the pixels of window (oh, ow) in channel c.

    x is (N, H, W, C), y (N, OH, OW, C). OH is (H + padding - size) / stride + 1, rounded down or up; a window starts
    inside the input or the padding before it. Padding is never read: an average is over the pixels that are there, or,
    with ``count_include_pad``, over those and the zeros of the padding, as PyTorch has it unless told otherwise. With
    ``size: image`` there is one window, the whole image (global pooling). Of equal maxima the first, row by row, gets
    the gradient. NaN is passed on.
    """

    attrs = {
        "mode": choice("max", "average", description="What is taken of each window."),
        "size": pair("Height and width of a window; image: those of the input.", minimum=1, words=[WHOLE]),
        "stride": pair(
            "Pixels between neighbouring windows; smaller than size, windows overlap.", default=1, minimum=1
        ),
        "pad": padding("Pixels round the image that windows reach over; they are never read."),
        "rounding": choice("floor", "ceil", default="floor", description="Whether windows may hang over the edge."),
        "dilation": pair("Pixels from one of a window to the next.", default=1, minimum=1),
        "count_include_pad": boolean("Whether an average counts the padding, as zeros.", default=False),
    }
    channelwise = True
    variants = (pool_rows.STORED, pool_vectors.VARIANT, pool_rows.VARIANT, pool_float4.VARIANT, pool_plain.PLAIN)
    kinks = "where the two largest pixels of a window are equal (mode: max)"
    examples = (
        {"attrs": {"mode": "max", "size": 3, "stride": 2, "rounding": "ceil"}, "inputs": [(2, 6, 5, 3)]},
        {"attrs": {"mode": "max", "size": [2, 3], "stride": 3, "pad": [1, 0, 2, 1]}, "inputs": [(2, 5, 5, 2)]},
        {"attrs": {"mode": "average", "size": 3, "stride": 2, "rounding": "ceil"}, "inputs": [(2, 6, 5, 3)]},
        {"attrs": {"mode": "average", "size": 2, "stride": [3, 1], "pad": 1}, "inputs": [(2, 5, 4, 2)]},
        {"attrs": {"mode": "max", "size": 3, "stride": 2, "pad": 1}, "inputs": [(2, 6, 7, 16)]},
        {"attrs": {"mode": "average", "size": [4, 2], "stride": [2, 3], "pad": [1, 2, 0, 1]}, "inputs": [(1, 7, 5, 4)]},
        {"attrs": {"mode": "average", "size": "image"}, "inputs": [(2, 5, 3, 4)]},
        {"attrs": {"mode": "max", "size": [2, 3], "dilation": [3, 2], "stride": 2, "pad": 1}, "inputs": [(2, 6, 7, 4)]},
        {
            "attrs": {
                "mode": "average", "size": 3, "stride": 2, "pad": [1, 0, 1, 1], "rounding": "ceil",
                "count_include_pad": True,
            },
            "inputs": [(2, 5, 6, 4)],
        },
        {
            "attrs": {"mode": "average", "size": [2, 3], "dilation": [3, 2], "stride": 2, "pad": 1},
            "inputs": [(2, 6, 7, 4)],
        },
        {
            "attrs": {"mode": "average", "size": 2, "dilation": 2, "pad": 1, "count_include_pad": True},
            "inputs": [(2, 5, 4, 3)],
        },
    )

    def outputs(self, x: Tensor) -> Tensor:
        """(N, OH, OW, C)."""
        if self.attrs.count_include_pad and self.attrs.mode == "max":
            raise LayerError("a maximum counts no pixels", "leave it out, or mode: average", "count_include_pad")
        window = window_of(self.attrs, x, inside=True)
        if not reads_some(window, x):
            raise LayerError("a window reads padding alone", "pad by less, or make dilation smaller", "dilation")
        return Tensor((x.shape[0], *window.out, x.shape[3]), x.dtype)

    def saved(self, x: Tensor) -> dict[str, Tensor]:
        """argmax: where in its window (row by row, the padding counted) each maximum was; bytes beside bfloat16."""
        if self.attrs.mode != "max" or self.phase != "train":
            return {}
        few = x.dtype == "bfloat16" and window_of(self.attrs, x, inside=True).area <= _BYTE
        return {"argmax": Tensor(self.outputs(x).shape, "uint8" if few else "int32")}

    def workspace(self, t, variant, direction):
        """A pixel's sums, which are float32 whatever is stored."""
        own = {"sums": Workspace(t.x.shape[3:], per="member")} if variant == "plain" else {}
        return {**own, **super().workspace(t, variant, direction)}

    def window(self, t) -> Window:
        """The windows over the input."""
        return window_of(self.attrs, t.x, inside=True)

    def scalars(self, t, index=None):
        """The windows, and what averages count."""
        return {"window": self.window(t), "counted": counted_of(self.attrs, t.x)}

    def onnx(self, nodes, t, x):
        """MaxPool, or AveragePool, of sums over whole windows where it counts padding; of dilated ones Conv."""
        window, counted = self.window(t), counted_of(self.attrs, t.x)
        if self.attrs.mode == "max":
            return nodes.add("MaxPool", x, **onnx_window(window, t.x))
        counts = [[pixels_counted(window, i, j, counted) for j in range(window.out_w)] for i in range(window.out_h)]
        if window.dilation != (1, 1):  # which AveragePool knows from opset 19 on
            ones = nodes.constant([[[[1.0] * window.size_w] * window.size_h]] * t.x.shape[3], "ones")
            sums = nodes.add("Conv", x, ones, group=t.x.shape[3], **onnx_window(window, t.x))
            return nodes.add("Mul", sums, nodes.constant([[1 / count for count in row] for row in counts]))
        means = nodes.add("AveragePool", x, count_include_pad=self.attrs.count_include_pad, **onnx_window(window, t.x))
        if not self.attrs.count_include_pad or {window.area} == {count for row in counts for count in row}:
            return means
        return nodes.add("Mul", means, nodes.constant([[window.area / count for count in row] for row in counts]))

    def torch(self, code, t, x):
        """nn.MaxPool2d, or nn.AvgPool2d; padded before where its own padding does not do."""
        window, average = self.window(t), self.attrs.mode == "average"
        ceil = next((one for one in (False, True) if torch_count(window, t.x, one) == window.out), None)
        kind = "nn.AvgPool2d" if average else "nn.MaxPool2d"
        counted, include = counted_of(self.attrs, t.x), self.attrs.count_include_pad
        alike = not include or (counted.bottom - t.x.shape[1], counted.right - t.x.shape[2]) == window.pad
        apart = window.dilation if window.dilation != (1, 1) else None
        small = all(pad <= size // 2 for pad, size in zip(window.pad, window.size, strict=True))
        if ceil is not None and small and (not average or (alike and not apart)):
            padding = window.pad if any(window.pad) else None
            rest = {"padding": padding, "dilation": apart, "ceil_mode": ceil or None}
            rest |= {"count_include_pad": False} if average and not include and (padding or ceil) else {}
            return f"{code.module(kind, window.size, window.stride, **rest)}({x})"
        top, left, bottom, right = onnx_window(window, t.x)["pads"]
        pads = f"({left}, {right}, {top}, {bottom})"
        if average and apart:  # of which there is no module: sums by a convolution with ones
            how = f"stride={window.stride}, dilation={apart}, groups="
            sums, ones = (
                f"F.conv2d({one}, {x}.new_ones({groups}, 1, *{window.size}), {how}{groups})"
                for one, groups in ((f"F.pad({x}, {pads})", t.x.shape[3]), (_torch_counted(window, t.x, counted, x), 1))
            )
            return f"{sums} / {ones}"
        pool = code.module(kind, window.size, window.stride, dilation=apart)
        if not average:
            return f'{pool}(F.pad({x}, {pads}, value=float("-inf")))'
        return f"{pool}(F.pad({x}, {pads})) / {pool}({_torch_counted(window, t.x, counted, x)})"

    def flops(self, t):
        """One operation a pixel of each window."""
        count = t.y.size * self.window(t).area
        return Flops(forward=count, d_inputs=count)

    # The plain kernels: vectors of channels --------------------------------------------------------------------------

    @forward("cpu", over="y", axes=0, writes=("y", "argmax"), when=MAX, phases=TRAIN)
    def max_cpu(start, stop, x, y, argmax, window: Window):
        for n in range(start, stop):
            for oh in range(y.shape[1]):
                for ow in range(y.shape[2]):
                    top, bottom, left, right = clip_apart(window, oh, ow, x)
                    best, where = y[n, oh, ow], argmax[n, oh, ow]
                    for c in range(y.shape[3]):
                        best[c], where[c] = x[n, top, left, c], place_apart(window, top, left, oh, ow)
                    for ih in range(top, bottom, window.dilation_h):
                        for iw in range(left, right, window.dilation_w):
                            pixel, place = x[n, ih, iw], place_apart(window, ih, iw, oh, ow)
                            for c in range(y.shape[3]):
                                value, old = pixel[c], best[c]
                                better = value > old or (value != value and old == old)
                                best[c] = value if better else old
                                where[c] = place if better else where[c]

    @forward("cpu", over="y", axes=0, writes="y", when=MAX, phases=REST)
    def max_only_cpu(start, stop, x, y, window: Window):
        for n in range(start, stop):
            for oh in range(y.shape[1]):
                for ow in range(y.shape[2]):
                    top, bottom, left, right = clip_apart(window, oh, ow, x)
                    best = y[n, oh, ow]
                    best[:] = x[n, top, left]
                    for ih in range(top, bottom, window.dilation_h):
                        for iw in range(left, right, window.dilation_w):
                            pixel = x[n, ih, iw]
                            for c in range(y.shape[3]):
                                value, old = pixel[c], best[c]
                                best[c] = value if value > old or value != value else old

    @backward("cpu", over="d_x", axes=0, writes="d_x", when=MAX)
    def d_max_cpu(start, stop, dy, argmax, d_x, sums, window: Window):
        for n in range(start, stop):
            for ih in range(d_x.shape[1]):
                above, below = covering_rows(window, ih, dy)
                for iw in range(d_x.shape[2]):
                    before, after = covering_columns(window, iw, dy)
                    sums[:] = 0
                    for oh in range(above, below):
                        for ow in range(before, after):
                            place = place_apart(window, ih, iw, oh, ow)
                            gradient, where = dy[n, oh, ow], argmax[n, oh, ow]
                            for c in range(d_x.shape[3]):
                                sums[c] += gradient[c] if where[c] == place else 0.0
                    d_x[n, ih, iw] = sums

    @forward("cpu", over="y", axes=0, writes="y", when=AVERAGE)
    def average_cpu(start, stop, x, y, sums, window: Window, counted: Counted):
        for n in range(start, stop):
            for oh in range(y.shape[1]):
                for ow in range(y.shape[2]):
                    top, bottom, left, right = clip_apart(window, oh, ow, x)
                    average, count = y[n, oh, ow], x.dtype.type(pixels_counted(window, oh, ow, counted))
                    sums[:] = 0
                    for ih in range(top, bottom, window.dilation_h):
                        for iw in range(left, right, window.dilation_w):
                            pixel = x[n, ih, iw]
                            for c in range(y.shape[3]):
                                sums[c] += pixel[c]
                    for c in range(y.shape[3]):
                        average[c] = sums[c] / count

    @backward("cpu", over="d_x", axes=0, writes="d_x", when=AVERAGE)
    def d_average_cpu(start, stop, dy, d_x, sums, window: Window, counted: Counted):
        for n in range(start, stop):
            for ih in range(d_x.shape[1]):
                above, below = covering_rows(window, ih, dy)
                for iw in range(d_x.shape[2]):
                    before, after = covering_columns(window, iw, dy)
                    sums[:] = 0
                    for oh in range(above, below):
                        for ow in range(before, after):
                            count = dy.dtype.type(pixels_counted(window, oh, ow, counted))
                            gradient, share = dy[n, oh, ow], 1.0 / count
                            if place_apart(window, ih, iw, oh, ow) >= 0:
                                for c in range(d_x.shape[3]):
                                    sums[c] += gradient[c] * share
                    d_x[n, ih, iw] = sums
