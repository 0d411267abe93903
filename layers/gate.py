"""Each channel of an image times a number of its own (squeeze and excitation, Hu, Shen and Sun 2018)."""

from netspec.layers._batch_chunks import block_of_images
from netspec.plugin import Layer, LayerError, Tensor, Workspace, backward, cuda, device, forward, register

THREADS = 256


@device
def scale_images(start, stop, source, factor, target):
    """Fill images [start, stop) of the target: each channel of the source times its factor."""
    rows = factor.reshape(source.shape[0], source.shape[3])
    for n in range(start, stop):
        factors = rows[n]
        for h in range(source.shape[1]):
            for w in range(source.shape[2]):
                pixel, result = source[n, h, w], target[n, h, w]
                for c in range(factors.size):
                    result[c] = pixel[c] * factors[c]


@device
def scaled(i, source, factor, channels, pixels):
    """Element i times its factor."""
    return source[i] * factor[i // (pixels * channels) * channels + i % channels]


@register("gate")
class Gate(Layer):
    """y[n, h, w, c] = x[n, h, w, c] * factor[n, c]

    The second input is a row for each image, (N, C) or (N, 1, 1, C): what a network made of the whole image.
    """

    inputs = ("x", "factor")
    channelwise = True
    examples = (
        {"attrs": {}, "inputs": [(3, 4, 5, 6), (3, 1, 1, 6)]},
        {"attrs": {}, "inputs": [(2, 3, 2, 8), (2, 8)]},
    )

    def outputs(self, x, factor):
        if len(x.shape) != 4:
            raise LayerError(f"the first input must be images of shape (batch, height, width, channels), got {x.shape}")
        if factor.shape not in ((x.shape[0], x.shape[3]), (x.shape[0], 1, 1, x.shape[3])):
            told = f"factors of shape {factor.shape} are no number for each of {x.shape[3]} channels"
            raise LayerError(told, "read a dense layer of as many units, or a pool with size: image")
        return Tensor(x.shape, x.dtype)

    def scalars(self, t, index=None):
        return {"channels": t.x.shape[3], "pixels": t.x.shape[1] * t.x.shape[2]}

    def onnx(self, nodes, t, x, factor):
        """Mul."""
        row = len(t.factor.shape) == 2
        return nodes.add("Mul", x, nodes.add("Unsqueeze", factor, nodes.constant([2, 3], "axes")) if row else factor)

    def torch(self, code, t, x, factor):
        """A product."""
        return f"torch.mul({x}, {factor}{'[:, :, None, None]' if len(t.factor.shape) == 2 else ''})"

    def workspace(self, t, variant, direction):
        """An image's sums, which are float32 whatever is stored."""
        own = {"sums": Workspace(t.x.shape[3:], per="member")} if direction == "backward" else {}
        return {**own, **super().workspace(t, variant, direction)}

    @forward("cpu", over="y", axes=0, block=block_of_images, writes="y")
    def gate_cpu(start, stop, x, factor, y):
        scale_images(start, stop, x, factor, y)

    @backward("cpu", over="d_x", axes=0, block=block_of_images, writes="d_x")
    def d_x_cpu(start, stop, factor, dy, d_x):
        scale_images(start, stop, dy, factor, d_x)

    @backward("cpu", over="d_factor", axes=0, block=block_of_images, writes="d_factor")
    def d_factor_cpu(start, stop, x, dy, d_factor, sums):
        rows = d_factor.reshape(x.shape[0], x.shape[3])
        for n in range(start, stop):
            sums[:] = 0
            for h in range(x.shape[1]):
                for w in range(x.shape[2]):
                    pixel, gradient = x[n, h, w], dy[n, h, w]
                    for c in range(sums.size):
                        sums[c] += pixel[c] * gradient[c]
            rows[n] = sums

    @forward("cuda", over="y", threads=THREADS, writes="y", linear=True)
    def gate_cuda(x, factor, y, channels, pixels):
        i = cuda.grid(1)
        if i < y.size:
            y[i] = scaled(i, x, factor, channels, pixels)

    @backward("cuda", over="d_x", threads=THREADS, writes="d_x", linear=True)
    def d_x_cuda(factor, dy, d_x, channels, pixels):
        i = cuda.grid(1)
        if i < d_x.size:
            d_x[i] = scaled(i, dy, factor, channels, pixels)

    @backward("cuda", over="d_factor", threads=THREADS, writes="d_factor", linear=True)
    def d_factor_cuda(x, dy, d_factor, channels, pixels):
        i = cuda.grid(1)
        if i < d_factor.size:
            first, total = i // channels * pixels * channels + i % channels, 0.0
            for p in range(pixels):
                total += x[first + p * channels] * dy[first + p * channels]
            d_factor[i] = total
