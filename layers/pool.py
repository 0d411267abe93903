"""Pooling over windows of an image, overlapping or not: maximum or average."""

from netspec.layers._cpu import pool_rows as rows
from netspec.layers._cuda import float4
from netspec.layers._cuda import pool as pool_cuda
from netspec.layers._window import clip, covering, element, window_of
from netspec.plugin import Flops, Layer, Tensor, backward, choice, cuda, forward, padding, pair, register

TRAIN, REST = ("train",), ("eval", "predict")


def _outputs(t):
    return (-(-t.y.size // 256),)


def _inputs(t):
    return (-(-t.x.size // 256),)


@register("pool")
class Pool(Layer):
    """y[n, oh, ow, c] = the maximum or the average of the pixels of window (oh, ow) in channel c.

    x is (N, H, W, C), y (N, OH, OW, C). OH is (H + padding - size) / stride + 1, rounded down or up; a window starts
    inside the input or the padding before it. Padding is never read: an average is over the pixels that are there.
    Of equal maxima the first, row by row, gets the gradient. NaN is passed on.
    """

    attrs = {
        "mode": choice("max", "average", description="What is taken of each window."),
        "size": pair("Height and width of a window.", minimum=1),
        "stride": pair(
            "Pixels between neighbouring windows; smaller than size, windows overlap.", default=1, minimum=1
        ),
        "pad": padding("Pixels round the image that windows reach over; they are never read."),
        "rounding": choice("floor", "ceil", default="floor", description="Whether windows may hang over the edge."),
    }
    prefer = {"cpu": ("rows",), "cuda": ("vector",)}
    kinks = "where the two largest pixels of a window are equal (mode: max)"
    examples = (
        {"attrs": {"mode": "max", "size": 3, "stride": 2, "rounding": "ceil"}, "inputs": [(2, 6, 5, 3)]},
        {"attrs": {"mode": "max", "size": [2, 3], "stride": 3, "pad": [1, 0, 2, 1]}, "inputs": [(2, 5, 5, 2)]},
        {"attrs": {"mode": "average", "size": 3, "stride": 2, "rounding": "ceil"}, "inputs": [(2, 6, 5, 3)]},
        {"attrs": {"mode": "average", "size": 2, "stride": [3, 1], "pad": 1}, "inputs": [(2, 5, 4, 2)]},
        {"attrs": {"mode": "max", "size": 3, "stride": 2, "pad": 1}, "inputs": [(2, 6, 7, 8)]},
        {"attrs": {"mode": "average", "size": [4, 2], "stride": [2, 3], "pad": [1, 2, 0, 1]}, "inputs": [(1, 7, 5, 4)]},
    )

    def outputs(self, x: Tensor) -> Tensor:
        """(N, OH, OW, C)."""
        return Tensor((x.shape[0], *window_of(self.attrs, x, inside=True).out, x.shape[3]), x.dtype)

    def saved(self, x: Tensor) -> dict[str, Tensor]:
        """argmax: where in its window (row by row, the padding counted) each maximum was."""
        if self.attrs.mode != "max" or self.phase != "train":
            return {}
        return {"argmax": Tensor(self.outputs(x).shape, "int32")}

    def scalars(self, t, index=None):
        """The window's numbers."""
        return window_of(self.attrs, t.x, inside=True).scalars

    def supports(self, t, variant):
        """On CPUs the fast kernels are for maxima, on GPUs for channels in fours and windows of at most two strides."""
        if variant == "rows":
            return self.attrs.mode == "max"
        window = window_of(self.attrs, t.x, inside=True)
        near = all(size <= 2 * stride for size, stride in zip(window.size, window.stride, strict=True))
        return variant == "plain" or (near and float4.fits(t.x) and float4.fits(t.y))

    def flops(self, t):
        """One operation a pixel of each window."""
        count = t.y.size * window_of(self.attrs, t.x, inside=True).area
        return Flops(forward=count, d_inputs=count)

    # CPU: vectors of channels ---------------------------------------------------------------------------------------

    @forward("cpu", over="y", axes=0, writes=("y", "argmax"), when={"mode": "max"}, phases=TRAIN)
    def max_cpu(start, stop, x, y, argmax, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
        for n in range(start, stop):
            for oh in range(y.shape[1]):
                top, bottom = clip(oh, stride_h, pad_top, size_h, x.shape[1])
                for ow in range(y.shape[2]):
                    left, right = clip(ow, stride_w, pad_left, size_w, x.shape[2])
                    origin = (oh * stride_h - pad_top) * size_w + ow * stride_w - pad_left
                    best, where = y[n, oh, ow], argmax[n, oh, ow]
                    for c in range(y.shape[3]):
                        best[c], where[c] = x[n, top, left, c], top * size_w + left - origin
                    for ih in range(top, bottom):
                        for iw in range(left, right):
                            pixel, place = x[n, ih, iw], ih * size_w + iw - origin
                            for c in range(y.shape[3]):
                                value, old = pixel[c], best[c]
                                better = value > old or (value != value and old == old)
                                best[c] = value if better else old
                                where[c] = place if better else where[c]

    @forward("cpu", over="y", axes=0, writes="y", when={"mode": "max"}, phases=REST)
    def max_only_cpu(start, stop, x, y, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
        for n in range(start, stop):
            for oh in range(y.shape[1]):
                top, bottom = clip(oh, stride_h, pad_top, size_h, x.shape[1])
                for ow in range(y.shape[2]):
                    left, right = clip(ow, stride_w, pad_left, size_w, x.shape[2])
                    best = y[n, oh, ow]
                    best[:] = x[n, top, left]
                    for ih in range(top, bottom):
                        for iw in range(left, right):
                            pixel = x[n, ih, iw]
                            for c in range(y.shape[3]):
                                value, old = pixel[c], best[c]
                                best[c] = value if value > old or value != value else old

    @backward("cpu", over="d_x", axes=0, writes="d_x", when={"mode": "max"})
    def d_max_cpu(start, stop, dy, argmax, d_x, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
        for n in range(start, stop):
            for ih in range(d_x.shape[1]):
                above, below = covering(ih, stride_h, pad_top, size_h, dy.shape[1])
                for iw in range(d_x.shape[2]):
                    before, after = covering(iw, stride_w, pad_left, size_w, dy.shape[2])
                    total = d_x[n, ih, iw]
                    total[:] = 0
                    for oh in range(above, below):
                        for ow in range(before, after):
                            i, j = ih - oh * stride_h + pad_top, iw - ow * stride_w + pad_left
                            place, where, gradient = i * size_w + j, argmax[n, oh, ow], dy[n, oh, ow]
                            for c in range(d_x.shape[3]):
                                total[c] += gradient[c] if where[c] == place else 0.0

    @forward("cpu", over="y", axes=0, writes="y", when={"mode": "average"})
    def average_cpu(start, stop, x, y, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
        for n in range(start, stop):
            for oh in range(y.shape[1]):
                top, bottom = clip(oh, stride_h, pad_top, size_h, x.shape[1])
                for ow in range(y.shape[2]):
                    left, right = clip(ow, stride_w, pad_left, size_w, x.shape[2])
                    total, count = y[n, oh, ow], x.dtype.type((bottom - top) * (right - left))
                    total[:] = 0
                    for ih in range(top, bottom):
                        for iw in range(left, right):
                            pixel = x[n, ih, iw]
                            for c in range(y.shape[3]):
                                total[c] += pixel[c]
                    for c in range(y.shape[3]):
                        total[c] /= count

    @backward("cpu", over="d_x", axes=0, writes="d_x", when={"mode": "average"})
    def d_average_cpu(start, stop, dy, d_x, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
        for n in range(start, stop):
            for ih in range(d_x.shape[1]):
                above, below = covering(ih, stride_h, pad_top, size_h, dy.shape[1])
                for iw in range(d_x.shape[2]):
                    before, after = covering(iw, stride_w, pad_left, size_w, dy.shape[2])
                    total = d_x[n, ih, iw]
                    total[:] = 0
                    for oh in range(above, below):
                        top, bottom = clip(oh, stride_h, pad_top, size_h, d_x.shape[1])
                        for ow in range(before, after):
                            left, right = clip(ow, stride_w, pad_left, size_w, d_x.shape[2])
                            gradient, share = dy[n, oh, ow], 1.0 / dy.dtype.type((bottom - top) * (right - left))
                            for c in range(d_x.shape[3]):
                                total[c] += gradient[c] * share

    max_rows, max_only_rows, d_max_rows = rows.max_rows, rows.max_only_rows, rows.d_max_rows

    # CUDA: one thread an element, neighbouring threads neighbouring channels -----------------------------------------

    @forward("cuda", over="y", threads=256, grid=_outputs, writes=("y", "argmax"), when={"mode": "max"}, phases=TRAIN)
    def max_cuda(x, y, argmax, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
        n, oh, ow, c = element(cuda.grid(1), y)
        if n < y.shape[0]:
            top, bottom = clip(oh, stride_h, pad_top, size_h, x.shape[1])
            left, right = clip(ow, stride_w, pad_left, size_w, x.shape[2])
            origin = (oh * stride_h - pad_top) * size_w + ow * stride_w - pad_left
            best, where = x[n, top, left, c], top * size_w + left
            for ih in range(top, bottom):
                for iw in range(left, right):
                    value = x[n, ih, iw, c]
                    if value > best or (value != value and best == best):
                        best, where = value, ih * size_w + iw
            y[n, oh, ow, c], argmax[n, oh, ow, c] = best, where - origin

    @forward("cuda", over="y", threads=256, grid=_outputs, writes="y", when={"mode": "max"}, phases=REST)
    def max_only_cuda(x, y, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
        n, oh, ow, c = element(cuda.grid(1), y)
        if n < y.shape[0]:
            top, bottom = clip(oh, stride_h, pad_top, size_h, x.shape[1])
            left, right = clip(ow, stride_w, pad_left, size_w, x.shape[2])
            best = x[n, top, left, c]
            for ih in range(top, bottom):
                for iw in range(left, right):
                    value = x[n, ih, iw, c]
                    if value > best or value != value:
                        best = value
            y[n, oh, ow, c] = best

    @backward("cuda", over="d_x", threads=256, grid=_inputs, writes="d_x", when={"mode": "max"})
    def d_max_cuda(dy, argmax, d_x, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
        n, ih, iw, c = element(cuda.grid(1), d_x)
        if n < d_x.shape[0]:
            above, below = covering(ih, stride_h, pad_top, size_h, dy.shape[1])
            before, after = covering(iw, stride_w, pad_left, size_w, dy.shape[2])
            total = 0.0
            for oh in range(above, below):
                for ow in range(before, after):
                    place = (ih - oh * stride_h + pad_top) * size_w + iw - ow * stride_w + pad_left
                    if argmax[n, oh, ow, c] == place:
                        total += dy[n, oh, ow, c]
            d_x[n, ih, iw, c] = total

    @forward("cuda", over="y", threads=256, grid=_outputs, writes="y", when={"mode": "average"})
    def average_cuda(x, y, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
        n, oh, ow, c = element(cuda.grid(1), y)
        if n < y.shape[0]:
            top, bottom = clip(oh, stride_h, pad_top, size_h, x.shape[1])
            left, right = clip(ow, stride_w, pad_left, size_w, x.shape[2])
            total = 0.0
            for ih in range(top, bottom):
                for iw in range(left, right):
                    total += x[n, ih, iw, c]
            y[n, oh, ow, c] = total / x.dtype.type((bottom - top) * (right - left))

    @backward("cuda", over="d_x", threads=256, grid=_inputs, writes="d_x", when={"mode": "average"})
    def d_average_cuda(dy, d_x, size_h, size_w, stride_h, stride_w, pad_top, pad_left):
        n, ih, iw, c = element(cuda.grid(1), d_x)
        if n < d_x.shape[0]:
            above, below = covering(ih, stride_h, pad_top, size_h, dy.shape[1])
            before, after = covering(iw, stride_w, pad_left, size_w, dy.shape[2])
            total = 0.0
            for oh in range(above, below):
                top, bottom = clip(oh, stride_h, pad_top, size_h, d_x.shape[1])
                for ow in range(before, after):
                    left, right = clip(ow, stride_w, pad_left, size_w, d_x.shape[2])
                    total += dy[n, oh, ow, c] / dy.dtype.type((bottom - top) * (right - left))
            d_x[n, ih, iw, c] = total

    max_vector_cuda, max_only_vector_cuda = pool_cuda.max_vector_cuda, pool_cuda.max_only_vector_cuda
    d_max_vector_cuda = pool_cuda.d_max_vector_cuda
    average_vector_cuda, d_average_vector_cuda = pool_cuda.average_vector_cuda, pool_cuda.d_average_vector_cuda
