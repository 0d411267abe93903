"""Images made larger by whole factors, each pixel repeated (nearest neighbour)."""

from netspec.layers._window import check_images, pair_of
from netspec.plugin import Layer, Tensor, Workspace, backward, cuda, device, forward, pair, register

THREADS = 256


@device
def source_of(line, width, height, factor_h, factor_w):
    """Pixel of the small images behind pixel ``line`` of the large ones, both counted through the batch."""
    row, column = line // width, line % width
    image, h = row // height, row % height
    return (image * (height // factor_h) + h // factor_h) * (width // factor_w) + column // factor_w


@device
def first_of(line, width, height, factor_h, factor_w):
    """The first large pixel of a small one; ``width`` and ``height`` are those of the small images."""
    row, column = line // width, line % width
    image, h = row // height, row % height
    return ((image * height + h) * factor_h * width + column) * factor_w


@register("upsample")
class Upsample(Layer):
    """y[n, h, w, c] = x[n, h // factor, w // factor, c]

    The gradient of a pixel is the sum of those of its copies. PyTorch's Upsample(scale_factor, mode="nearest").
    """

    attrs = {"factor": pair("How many times larger; or height and width apart.", minimum=1)}
    channelwise = True
    examples = (
        {"attrs": {"factor": 2}, "inputs": [(2, 3, 4, 5)]},
        {"attrs": {"factor": [1, 3]}, "inputs": [(2, 2, 3, 8)]},
    )

    def outputs(self, x):
        check_images(x)
        factor_h, factor_w = self.factors
        return Tensor((x.shape[0], x.shape[1] * factor_h, x.shape[2] * factor_w, x.shape[3]), x.dtype)

    @property
    def factors(self):
        """Of height and of width."""
        return pair_of(self.attrs.factor)

    def onnx(self, nodes, t, x):
        """Resize to the nearest."""
        scales = nodes.constant([1.0, 1.0, *map(float, self.factors)], "scales")
        how = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        return nodes.add("Resize", x, "", scales, **how)

    def torch(self, code, t, x):
        """F.interpolate, to the nearest."""
        return f"F.interpolate({x}, scale_factor={tuple(map(float, self.factors))}, mode='nearest')"

    def workspace(self, t, variant, direction):
        """A pixel's sums, which are float32 whatever is stored."""
        own = {"sums": Workspace(t.x.shape[3:], per="member")} if direction == "backward" else {}
        return {**own, **super().workspace(t, variant, direction)}

    def scalars(self, t, index=None):
        factor_h, factor_w = self.factors
        return {"factor_h": factor_h, "factor_w": factor_w}

    @forward("cpu", over="y", axes=(0, 1, 2), block=1024, writes="y")
    def repeat_cpu(start, stop, x, y, factor_h, factor_w):
        small, large = x.reshape(-1, x.shape[3]), y.reshape(-1, x.shape[3])
        for line in range(start, stop):
            source, target = small[source_of(line, y.shape[2], y.shape[1], factor_h, factor_w)], large[line]
            for c in range(target.size):
                target[c] = source[c]

    @backward("cpu", over="d_x", axes=(0, 1, 2), block=256, writes="d_x")
    def gather_cpu(start, stop, dy, d_x, sums, factor_h, factor_w):
        small, large = d_x.reshape(-1, d_x.shape[3]), dy.reshape(-1, d_x.shape[3])
        for line in range(start, stop):
            first = first_of(line, d_x.shape[2], d_x.shape[1], factor_h, factor_w)
            sums[:] = 0
            for i in range(factor_h):
                for j in range(factor_w):
                    copy = large[first + i * dy.shape[2] + j]
                    for c in range(sums.size):
                        sums[c] += copy[c]
            small[line] = sums

    @forward("cuda", over="y", axes=(0, 1, 2, 3), threads=THREADS, writes="y")
    def repeat_cuda(x, y, factor_h, factor_w):
        i, depth = cuda.grid(1), y.shape[3]
        if i < y.size:
            source = source_of(i // depth, y.shape[2], y.shape[1], factor_h, factor_w)
            y.flat[i] = x.flat[source * depth + i % depth]

    @backward("cuda", over="d_x", axes=(0, 1, 2, 3), threads=THREADS, writes="d_x")
    def gather_cuda(dy, d_x, factor_h, factor_w):
        i, depth = cuda.grid(1), d_x.shape[3]
        if i < d_x.size:
            first = first_of(i // depth, d_x.shape[2], d_x.shape[1], factor_h, factor_w)
            total = 0.0
            for row in range(factor_h):
                for column in range(factor_w):
                    total += dy.flat[(first + row * dy.shape[2] + column) * depth + i % depth]
            d_x.flat[i] = total
