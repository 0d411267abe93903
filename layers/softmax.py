"""Softmax over the channels, without a loss: attention, gates, a mixture's shares."""

import math

from netspec.layers._cuda.softmax_plain import THREADS, fold
from netspec.plugin import Flops, Layer, LayerError, Tensor, backward, cuda, device, forward, integer, register


def _rows(t):
    return (t.x.size // t.x.shape[-1] * t.groups,)


@device
def softmax_of(scores, shares):
    """One row of shares."""
    highest = scores[0]
    for c in range(1, scores.size):
        highest = max(highest, scores[c])
    total = 0.0
    for c in range(scores.size):
        shares[c] = math.exp(scores[c] - highest)
        total += shares[c]
    for c in range(scores.size):
        shares[c] /= total


@register("softmax")
class Softmax(Layer):
    """y[c] = exp(x[c]) / the sum of exp(x[j]) over all channels j

    Of each pixel for itself. A network that learns classes ends in softmax_loss, which needs no softmax before it.
    """

    attrs = {"groups": integer("Parts of the channels that do not see each other.", default=None, minimum=1)}
    divided = ("groups",)
    mixes_channels = True
    examples = (
        {"attrs": {}, "inputs": [(2, 3, 2, 5)]},
        {"attrs": {"groups": 3}, "inputs": [(4, 12)]},
        {"attrs": {}, "inputs": [(3, 100)]},
    )

    def outputs(self, x):
        if x.shape[-1] % (self.attrs.groups or 1):
            raise LayerError(f"{x.shape[-1]} channels do not divide into {self.attrs.groups} groups", attr="groups")
        return Tensor(x.shape, x.dtype)

    def tensors(self, inputs):
        """With them the number of groups."""
        t = super().tensors(inputs)
        t.groups = self.attrs.groups or 1
        return t

    def scalars(self, t, index=None):
        return {"width": t.x.shape[-1] // t.groups}

    def flops(self, t):
        return Flops(forward=5 * t.x.size, d_inputs=4 * t.x.size)

    def onnx(self, nodes, t, x):
        """Softmax over the channels, each group's for itself."""
        if t.groups == 1:
            return nodes.add("Softmax", x, axis=-3 if len(t.x.shape) > 3 else -1)
        last = nodes.channels_last(x, t.x)
        kept = [0] * (len(t.x.shape) - 1)
        apart = nodes.add("Reshape", last, nodes.constant([*kept, t.groups, t.x.shape[-1] // t.groups], "groups"))
        whole = nodes.add("Reshape", nodes.add("Softmax", apart, axis=-1), nodes.add("Shape", last))
        return nodes.channels_first(whole, t.y)

    def torch(self, code, t, x):
        """Softmax over the channels, each group's for itself."""
        axis = -3 if len(t.x.shape) > 3 else -1
        if t.groups == 1:
            return f"{x}.softmax({axis})"
        return f"{x}.unflatten({axis}, ({t.groups}, -1)).softmax({axis}).flatten({axis - 1}, {axis})"

    @forward("cpu", over="y", axes=0, writes="y")
    def softmax_cpu(start, stop, x, y, width):
        scores, shares = x[start:stop].reshape(-1, width), y[start:stop].reshape(-1, width)
        for row in range(scores.shape[0]):
            softmax_of(scores[row], shares[row])

    @backward("cpu", over="d_x", axes=0, writes="d_x")
    def d_x_cpu(start, stop, y, dy, d_x, width):
        shares, above = y[start:stop].reshape(-1, width), dy[start:stop].reshape(-1, width)
        result = d_x[start:stop].reshape(-1, width)
        for row in range(shares.shape[0]):
            mean = 0.0
            for c in range(width):
                mean += shares[row, c] * above[row, c]
            for c in range(width):
                result[row, c] = shares[row, c] * (above[row, c] - mean)

    @forward("cuda", over="y", grid=_rows, threads=THREADS, linear=True, writes="y")
    def softmax_cuda(x, y, width):
        scratch, first = cuda.shared.array(THREADS, x.dtype), cuda.blockIdx.x * width
        thread, stop = first + cuda.threadIdx.x, first + width
        highest, total = x[first], 0.0
        for i in range(thread, stop, THREADS):
            highest = max(highest, x[i])
        highest = fold(scratch, highest, True)
        for i in range(thread, stop, THREADS):
            y[i] = math.exp(x[i] - highest)
            total += y[i]
        total = fold(scratch, total, False)
        for i in range(thread, stop, THREADS):
            y[i] /= total

    @backward("cuda", over="d_x", grid=_rows, threads=THREADS, linear=True, writes="d_x")
    def d_x_cuda(y, dy, d_x, width):
        scratch, first, mean = cuda.shared.array(THREADS, y.dtype), cuda.blockIdx.x * width, 0.0
        for i in range(first + cuda.threadIdx.x, first + width, THREADS):
            mean += y[i] * dy[i]
        mean = fold(scratch, mean, False)
        for i in range(first + cuda.threadIdx.x, first + width, THREADS):
            d_x[i] = y[i] * (dy[i] - mean)
