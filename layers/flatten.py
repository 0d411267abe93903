"""Images as rows of numbers."""

from math import prod

from netspec.plugin import Layer, Tensor, backward, cuda, forward, register


@register("flatten")
class Flatten(Layer):
    """(N, H, W, C) becomes (N, H * W * C): the same numbers in the same order. ``dense`` does not need it."""

    whole_only = "leave it out: dense reads (N, H, W, C) as it is"
    examples = ({"attrs": {}, "inputs": [(2, 3, 2, 4)]}, {"attrs": {}, "inputs": [(3, 6)]})

    def onnx(self, nodes, t, x):
        """Flatten, of channels last."""
        return nodes.add("Flatten", nodes.channels_last(x, t.x))

    def torch(self, code, t, x):
        """Flatten, of channels last."""
        return f"{code.channels_last(x, t.x)}.flatten(1)"

    def outputs(self, x):
        return Tensor((x.shape[0], prod(x.shape[1:])), x.dtype)

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        target = y.reshape(y.size)
        target[start:stop] = x[start:stop]

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        source = dy.reshape(dy.size)
        d_x[start:stop] = source[start:stop]

    @forward("cuda", over="x", writes="y", threads=256)
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y.flat[i] = x[i]

    @backward("cuda", over="x", writes="d_x", threads=256)
    def backward_cuda(dy, d_x):
        i = cuda.grid(1)
        if i < d_x.size:
            d_x[i] = dy.flat[i]
