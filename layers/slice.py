"""A range of a tensor's channels: a branch that some of the channels take, as in ShuffleNet V2 (Ma et al. 2018)."""

from netspec.plugin import Layer, LayerError, Tensor, backward, cuda, forward, integer, register

THREADS = 256


@register("slice")
class Slice(Layer):
    """y[..., c] = x[..., first + c], for ``count`` channels

    PyTorch's narrow. Rows and columns are cut off by ``pad``, a frame of a sequence is taken by ``select``.
    """

    attrs = {
        "first": integer("The first channel, from 0.", default=0, minimum=0),
        "count": integer("How many channels.", minimum=1),
    }
    whole_only = "a range of channels is taken where all of them lie: say connect: all, and one device"
    examples = (
        {"attrs": {"first": 2, "count": 3}, "inputs": [(2, 3, 2, 7)]},
        {"attrs": {"count": 4}, "inputs": [(3, 8)]},
        {"attrs": {"first": 5, "count": 1}, "inputs": [(2, 3, 2, 2, 6)]},
    )

    def outputs(self, x):
        first, count = self.attrs.first, self.attrs.count
        if first + count > x.shape[-1]:
            raise LayerError(f"channels {first} to {first + count - 1} of {x.shape[-1]}, counted from 0", attr="count")
        return Tensor((*x.shape[:-1], count), x.dtype)

    def onnx(self, nodes, t, x):
        """Slice along the channels."""
        first, axis = self.attrs.first, -3 if len(t.x.shape) > 3 else -1
        bounds = ([one] for one in (first, first + self.attrs.count, axis))
        return nodes.add("Slice", x, *map(nodes.constant, bounds))

    def torch(self, code, t, x):
        """Tensor.narrow."""
        return f"{x}.narrow({-3 if len(t.x.shape) > 3 else -1}, {self.attrs.first}, {self.attrs.count})"

    def scalars(self, t, index=None):
        return {"channels": t.x.shape[-1]}

    @forward("cpu", over="y", writes="y")
    def take_cpu(start, stop, x, y, channels, first, count):
        source, i = x.reshape(x.size), start
        while i < stop:
            row, c = i // count, i % count
            run, at = min(count - c, stop - i), row * channels + first + c
            y[i : i + run] = source[at : at + run]
            i += run

    @backward("cpu", over="d_x", writes="d_x")
    def put_cpu(start, stop, dy, d_x, channels, first, count):
        source = dy.reshape(dy.size)
        for i in range(start, stop):
            c = i % channels - first
            d_x[i] = source[i // channels * count + c] if 0 <= c < count else 0.0

    @forward("cuda", over="y", writes="y", threads=THREADS, linear=True)
    def take_cuda(x, y, channels, first, count):
        i = cuda.grid(1)
        if i < y.size:
            y[i] = x[i // count * channels + first + i % count]

    @backward("cuda", over="d_x", writes="d_x", threads=THREADS, linear=True)
    def put_cuda(dy, d_x, channels, first, count):
        i = cuda.grid(1)
        if i < d_x.size:
            c = i % channels - first
            d_x[i] = dy[i // channels * count + c] if 0 <= c < count else 0.0
