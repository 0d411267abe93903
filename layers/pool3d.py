"""Pooling over windows of a volume or of some frames: maximum or average."""

from netspec.layers._volume import (
    SIZES,
    WHOLE,
    Volume,
    element5,
    onnx_volume,
    places_counted,
    reads_some,
    taps,
    torch_padded,
    torch_sums,
    triple,
    volume_of,
    window_at,
)
from netspec.plugin import Flops, Layer, LayerError, Tensor, backward, boolean, choice, cuda, device, forward, register

MAX, AVERAGE = {"mode": "max"}, {"mode": "average"}
TRAIN, REST = ("train",), ("eval", "predict")
BLOCK, THREADS = 512, 256
ALL = (0, 1, 2, 3, 4)


@device
def largest(x, i, y, volume):
    """The largest place of the window of element i, or the first NaN, and its number in the window."""
    n, od, oh, ow, c = element5(i, y)
    front, top = od * volume.stride_d - volume.pad_d, oh * volume.stride_h - volume.pad_h
    left = ow * volume.stride_w - volume.pad_w
    d0, d1 = taps(front, volume.size_d, volume.apart_d, x.shape[1])
    h0, h1 = taps(top, volume.size_h, volume.apart_h, x.shape[2])
    w0, w1 = taps(left, volume.size_w, volume.apart_w, x.shape[3])
    best = x[n, front + d0 * volume.apart_d, top + h0 * volume.apart_h, left + w0 * volume.apart_w, c]
    where = (d0 * volume.size_h + h0) * volume.size_w + w0
    for p in range(d0, d1):
        for q in range(h0, h1):
            for r in range(w0, w1):
                value = x[n, front + p * volume.apart_d, top + q * volume.apart_h, left + r * volume.apart_w, c]
                better = (not value <= best) & (best == best)
                where = (p * volume.size_h + q) * volume.size_w + r if better else where
                best = value if better else best
    return best, where


@device
def mean(x, i, y, volume):
    """The average over the window of element i."""
    n, od, oh, ow, c = element5(i, y)
    front, top = od * volume.stride_d - volume.pad_d, oh * volume.stride_h - volume.pad_h
    left = ow * volume.stride_w - volume.pad_w
    d0, d1 = taps(front, volume.size_d, volume.apart_d, x.shape[1])
    h0, h1 = taps(top, volume.size_h, volume.apart_h, x.shape[2])
    w0, w1 = taps(left, volume.size_w, volume.apart_w, x.shape[3])
    total = 0.0
    for p in range(d0, d1):
        for q in range(h0, h1):
            for r in range(w0, w1):
                total += x[n, front + p * volume.apart_d, top + q * volume.apart_h, left + r * volume.apart_w, c]
    return total / x.dtype.type(places_counted(volume, od, oh, ow, x))


@device
def gradient(dy, argmax, i, d_x, volume, is_max):
    """That of element i of the input: what the windows that it lies in give it."""
    n, d, h, w, c = element5(i, d_x)
    total = 0.0
    for p in range(volume.size_d):
        od = window_at(d, p, volume.stride_d, volume.pad_d, volume.apart_d, dy.shape[1])
        for q in range(volume.size_h if od >= 0 else 0):
            oh = window_at(h, q, volume.stride_h, volume.pad_h, volume.apart_h, dy.shape[2])
            for r in range(volume.size_w if oh >= 0 else 0):
                ow = window_at(w, r, volume.stride_w, volume.pad_w, volume.apart_w, dy.shape[3])
                if ow >= 0 and is_max:
                    if argmax[n, od, oh, ow, c] == (p * volume.size_h + q) * volume.size_w + r:
                        total += dy[n, od, oh, ow, c]
                elif ow >= 0:
                    total += dy[n, od, oh, ow, c] / dy.dtype.type(places_counted(volume, od, oh, ow, d_x))
    return total


@register("pool3d")
class Pool3d(Layer):
    """y[n, od, oh, ow, c] = the maximum or the average of the places of window (od, oh, ow) in channel c.

    x is (N, D, H, W, C), a volume or D frames; y (N, OD, OH, OW, C). Windows, padding, rounding, equal maxima and NaN
    are as in ``pool``, along three axes; ``size: image`` takes all of them. PyTorch's MaxPool3d and AvgPool3d.
    """

    attrs = {
        "mode": choice("max", "average", description="What is taken of each window."),
        "size": triple("Depth, height and width of a window; image: those of the input.", minimum=1, words=[WHOLE]),
        **SIZES,
        "rounding": choice("floor", "ceil", default="floor", description="Whether windows may hang over the edge."),
        "count_include_pad": boolean("Whether an average counts the padding, as zeros.", default=False),
    }
    channelwise = True
    kinks = "where the two largest places of a window are equal (mode: max)"
    examples = (
        {"attrs": {"mode": "max", "size": 2, "stride": [1, 2, 2]}, "inputs": [(2, 3, 4, 5, 3)]},
        {
            "attrs": {"mode": "max", "size": [2, 3, 2], "stride": 2, "pad": [1, 0, 1, 1, 0, 1], "dilation": [1, 1, 2]},
            "inputs": [(2, 4, 5, 6, 2)],
        },
        {
            "attrs": {"mode": "average", "size": 3, "stride": 2, "pad": 1, "rounding": "ceil"},
            "inputs": [(1, 4, 5, 3, 4)],
        },
        {
            "attrs": {"mode": "average", "size": 2, "dilation": [2, 1, 2], "pad": 1, "count_include_pad": True},
            "inputs": [(2, 3, 3, 4, 2)],
        },
        {"attrs": {"mode": "average", "size": "image"}, "inputs": [(2, 2, 3, 2, 3)]},
    )

    def outputs(self, x):
        if self.attrs.count_include_pad and self.attrs.mode == "max":
            raise LayerError("a maximum counts no places", "leave it out, or mode: average", "count_include_pad")
        volume, out = volume_of(self.attrs, x, inside=True)
        if not reads_some(volume, out, x):
            raise LayerError("a window reads padding alone", "pad by less, or make dilation smaller", "dilation")
        return Tensor((x.shape[0], *out, x.shape[4]), x.dtype)

    def saved(self, x):
        """argmax: which place of its window each maximum was."""
        is_needed = self.attrs.mode == "max" and self.phase == "train"
        return {"argmax": Tensor(self.outputs(x).shape, "int32")} if is_needed else {}

    def scalars(self, t, index=None):
        return {"volume": volume_of(self.attrs, t.x, inside=True)[0]}

    def flops(self, t):
        count = t.y.size * volume_of(self.attrs, t.x, inside=True)[0].area
        return Flops(forward=count, d_inputs=count)

    def onnx(self, nodes, t, x):
        """MaxPool or AveragePool of the volume, channels first; other averages are sums by Conv, times a constant."""
        (volume, out), channels = volume_of(self.attrs, t.x, inside=True), t.x.shape[4]
        attrs, moved = onnx_volume(volume, out, t.x), nodes.add("Transpose", x, perm=[0, 2, 1, 3, 4])
        if self.attrs.mode == "max":
            return nodes.add("Transpose", nodes.add("MaxPool", moved, **attrs), perm=[0, 2, 1, 3, 4])
        if volume.apart == (1, 1, 1) and not self.attrs.count_include_pad:
            del attrs["dilations"]
            return nodes.add("Transpose", nodes.add("AveragePool", moved, **attrs), perm=[0, 2, 1, 3, 4])
        ones = nodes.constant([[[[[1.0] * volume.size_w] * volume.size_h] * volume.size_d]] * channels, "ones")
        sums = nodes.add("Conv", moved, ones, group=channels, **attrs)
        shares = [
            [[1 / places_counted(volume, d, h, w, t.x) for w in range(out[2])] for h in range(out[1])]
            for d in range(out[0])
        ]
        return nodes.add("Transpose", nodes.add("Mul", sums, nodes.constant(shares)), perm=[0, 2, 1, 3, 4])

    def torch(self, code, t, x):
        """nn.MaxPool3d; of averages sums over windows, divided by what they count."""
        volume, out = volume_of(self.attrs, t.x, inside=True)
        x = f"{x}.transpose(1, 2)"
        if self.attrs.mode == "max":
            pool = code.module("nn.MaxPool3d", volume.size, volume.stride, dilation=volume.apart)
            padded = torch_padded(volume, out, t.x, x, ', value=float("-inf")')
            return f"{pool}({padded}).transpose(1, 2)"
        sums = torch_sums(volume, torch_padded(volume, out, t.x, x), t.x.shape[4])
        front, top, left, back, bottom, right = volume[12:18]
        ones = f"torch.ones_like({x}[:1, :1])"
        if any(volume[12:18]):
            ones = f"F.pad({ones}, {(left, right, top, bottom, front, back)}, value=1.0)"
        pads = onnx_volume(volume, out, t.x)["pads"]
        rest = [max(0, pad - counted) for pad, counted in zip(pads, volume[12:18], strict=True)]
        if any(rest):
            ones = f"F.pad({ones}, {(rest[2], rest[5], rest[1], rest[4], rest[0], rest[3])})"
        return f"({sums} / {torch_sums(volume, ones, 1)}).transpose(1, 2)"

    @forward("cpu", over="y", axes=ALL, block=BLOCK, writes=("y", "argmax"), when=MAX, phases=TRAIN)
    def max_cpu(start, stop, x, y, argmax, volume: Volume):
        flat, where = y.reshape(y.size), argmax.reshape(argmax.size)
        for i in range(start, stop):
            flat[i], where[i] = largest(x, i, y, volume)

    @forward("cpu", over="y", axes=ALL, block=BLOCK, writes="y", when=MAX, phases=REST)
    def max_only_cpu(start, stop, x, y, volume: Volume):
        flat = y.reshape(y.size)
        for i in range(start, stop):
            flat[i], _ = largest(x, i, y, volume)

    @backward("cpu", over="d_x", axes=ALL, block=BLOCK, writes="d_x", when=MAX)
    def d_max_cpu(start, stop, dy, argmax, d_x, volume: Volume):
        flat = d_x.reshape(d_x.size)
        for i in range(start, stop):
            flat[i] = gradient(dy, argmax, i, d_x, volume, True)

    @forward("cpu", over="y", axes=ALL, block=BLOCK, writes="y", when=AVERAGE)
    def average_cpu(start, stop, x, y, volume: Volume):
        flat = y.reshape(y.size)
        for i in range(start, stop):
            flat[i] = mean(x, i, y, volume)

    @backward("cpu", over="d_x", axes=ALL, block=BLOCK, writes="d_x", when=AVERAGE)
    def d_average_cpu(start, stop, dy, d_x, volume: Volume):
        flat = d_x.reshape(d_x.size)
        for i in range(start, stop):
            flat[i] = gradient(dy, dy, i, d_x, volume, False)

    @forward("cuda", over="y", axes=ALL, threads=THREADS, writes=("y", "argmax"), when=MAX, phases=TRAIN)
    def max_cuda(x, y, argmax, volume: Volume):
        i = cuda.grid(1)
        if i < y.size:
            y.flat[i], argmax.flat[i] = largest(x, i, y, volume)

    @forward("cuda", over="y", axes=ALL, threads=THREADS, writes="y", when=MAX, phases=REST)
    def max_only_cuda(x, y, volume: Volume):
        i = cuda.grid(1)
        if i < y.size:
            y.flat[i], _ = largest(x, i, y, volume)

    @backward("cuda", over="d_x", axes=ALL, threads=THREADS, writes="d_x", when=MAX)
    def d_max_cuda(dy, argmax, d_x, volume: Volume):
        i = cuda.grid(1)
        if i < d_x.size:
            d_x.flat[i] = gradient(dy, argmax, i, d_x, volume, True)

    @forward("cuda", over="y", axes=ALL, threads=THREADS, writes="y", when=AVERAGE)
    def average_cuda(x, y, volume: Volume):
        i = cuda.grid(1)
        if i < y.size:
            y.flat[i] = mean(x, i, y, volume)

    @backward("cuda", over="d_x", axes=ALL, threads=THREADS, writes="d_x", when=AVERAGE)
    def d_average_cuda(dy, d_x, volume: Volume):
        i = cuda.grid(1)
        if i < d_x.size:
            d_x.flat[i] = gradient(dy, dy, i, d_x, volume, False)
