"""Averages over a number of windows, whatever the image's size (He et al. 2014, Spatial Pyramid Pooling)."""

from netspec.layers._batch_chunks import block_of_images
from netspec.layers._window import check_images, element, pair_of
from netspec.plugin import Flops, Layer, Tensor, Workspace, backward, cuda, device, forward, pair, register

THREADS = 256


@device
def first_of(i, length, count):
    """Where window i of ``count`` over an axis begins, or: the first window that a place of the axis lies in."""
    return i * length // count


@device
def end_of(i, length, count):
    """Where it ends: windows overlap where ``count`` does not divide the axis's length."""
    return -(-(i + 1) * length // count)


def shares(length, count):
    """What each place of an axis counts in each window: (count, length)."""
    rows = []
    for i in range(count):
        first, end = first_of(i, length, count), end_of(i, length, count)
        rows.append([1 / (end - first) if first <= place < end else 0.0 for place in range(length)])
    return rows


@register("adaptive_pool")
class AdaptivePool(Layer):
    """y[n, i, j, c] = the average of x[n, h, w, c] over h in [i H // OH, ceil((i + 1) H / OH)), and w likewise

    x is (N, H, W, C), y (N, OH, OW, C), where ``out`` says OH and OW: so dense layers behind it read as many numbers of
    images of any size. PyTorch's AdaptiveAvgPool2d.
    """

    attrs = {"out": pair("Windows along each axis, or height and width apart.", minimum=1)}
    channelwise = True
    examples = (
        {"attrs": {"out": [3, 2]}, "inputs": [(2, 7, 5, 3)]},
        {"attrs": {"out": 2}, "inputs": [(2, 4, 6, 8)]},
        {"attrs": {"out": [5, 1]}, "inputs": [(1, 3, 4, 4)]},
    )

    def outputs(self, x):
        check_images(x)
        return Tensor((x.shape[0], *pair_of(self.attrs.out), x.shape[3]), x.dtype)

    def onnx(self, nodes, t, x):
        """AveragePool where windows are alike, else a product for each axis."""
        (height, width), (high, wide) = t.x.shape[1:3], t.y.shape[1:3]
        if height % high == 0 and width % wide == 0:
            size = [height // high, width // wide]
            return nodes.add("AveragePool", x, kernel_shape=size, strides=size)
        columns = nodes.constant([*zip(*shares(width, wide), strict=True)], "columns")
        return nodes.add("MatMul", nodes.constant(shares(height, high), "rows"), nodes.add("MatMul", x, columns))

    def torch(self, code, t, x):
        """nn.AdaptiveAvgPool2d."""
        return f"{code.module('nn.AdaptiveAvgPool2d', pair_of(self.attrs.out))}({x})"

    def flops(self, t):
        """One operation a pixel of each window."""
        (height, width), (high, wide) = t.x.shape[1:3], t.y.shape[1:3]
        count = t.y.size * -(-height // high) * -(-width // wide)
        return Flops(forward=count, d_inputs=count)

    def workspace(self, t, variant, direction):
        """A pixel's sums, which are float32 whatever is stored."""
        return {"sums": Workspace(t.x.shape[3:], per="member"), **super().workspace(t, variant, direction)}

    @forward("cpu", over="y", axes=0, block=block_of_images, writes="y")
    def average_cpu(start, stop, x, y, sums):
        for line in range(start * y.shape[1], stop * y.shape[1]):
            n, oh = line // y.shape[1], line % y.shape[1]
            top, bottom = first_of(oh, x.shape[1], y.shape[1]), end_of(oh, x.shape[1], y.shape[1])
            for ow in range(y.shape[2]):
                left, right = first_of(ow, x.shape[2], y.shape[2]), end_of(ow, x.shape[2], y.shape[2])
                average, count = y[n, oh, ow], x.dtype.type((bottom - top) * (right - left))
                sums[:] = 0
                for h in range(top, bottom):
                    for w in range(left, right):
                        pixel = x[n, h, w]
                        for c in range(sums.size):
                            sums[c] += pixel[c]
                for c in range(sums.size):
                    average[c] = sums[c] / count

    @backward("cpu", over="d_x", axes=0, block=block_of_images, writes="d_x")
    def spread_cpu(start, stop, dy, d_x, sums):
        for line in range(start * d_x.shape[1], stop * d_x.shape[1]):
            n, h = line // d_x.shape[1], line % d_x.shape[1]
            for w in range(d_x.shape[2]):
                sums[:] = 0
                for oh in range(first_of(h, dy.shape[1], d_x.shape[1]), end_of(h, dy.shape[1], d_x.shape[1])):
                    rows = end_of(oh, d_x.shape[1], dy.shape[1]) - first_of(oh, d_x.shape[1], dy.shape[1])
                    for ow in range(first_of(w, dy.shape[2], d_x.shape[2]), end_of(w, dy.shape[2], d_x.shape[2])):
                        columns = end_of(ow, d_x.shape[2], dy.shape[2]) - first_of(ow, d_x.shape[2], dy.shape[2])
                        gradient, count = dy[n, oh, ow], dy.dtype.type(rows * columns)
                        for c in range(sums.size):
                            sums[c] += gradient[c] / count
                d_x[n, h, w] = sums

    @forward("cuda", over="y", axes=(0, 1, 2, 3), threads=THREADS, writes="y")
    def average_cuda(x, y):
        i = cuda.grid(1)
        if i < y.size:
            n, oh, ow, c = element(i, y)
            top, bottom = first_of(oh, x.shape[1], y.shape[1]), end_of(oh, x.shape[1], y.shape[1])
            left, right = first_of(ow, x.shape[2], y.shape[2]), end_of(ow, x.shape[2], y.shape[2])
            total = 0.0
            for h in range(top, bottom):
                for w in range(left, right):
                    total += x[n, h, w, c]
            y[n, oh, ow, c] = total / x.dtype.type((bottom - top) * (right - left))

    @backward("cuda", over="d_x", axes=(0, 1, 2, 3), threads=THREADS, writes="d_x")
    def spread_cuda(dy, d_x):
        i = cuda.grid(1)
        if i < d_x.size:
            n, h, w, c = element(i, d_x)
            total = 0.0
            for oh in range(first_of(h, dy.shape[1], d_x.shape[1]), end_of(h, dy.shape[1], d_x.shape[1])):
                rows = end_of(oh, d_x.shape[1], dy.shape[1]) - first_of(oh, d_x.shape[1], dy.shape[1])
                for ow in range(first_of(w, dy.shape[2], d_x.shape[2]), end_of(w, dy.shape[2], d_x.shape[2])):
                    columns = end_of(ow, d_x.shape[2], dy.shape[2]) - first_of(ow, d_x.shape[2], dy.shape[2])
                    total += dy[n, oh, ow, c] / dy.dtype.type(rows * columns)
            d_x[n, h, w, c] = total
