"""Several tensors joined along their channels."""

from netspec.layers._cuda import concat_float4
from netspec.plugin import Layer, LayerError, Tensor, backward, cuda, device, forward, integer, register

THREADS = 256


@device
def place(i, channels, width, offset, span, total):
    """Where element i of one input lies in the output."""
    c = i % channels
    return i // channels * total + c // width * span + offset + c % width


@register("concat")
class Concat(Layer):
    """y = the channels of x0, then those of x1, ...; with groups, group g of y holds the g-th share of each input."""

    attrs = {"groups": integer("Parts of the channels that are joined each for itself.", default=None, minimum=1)}
    divided = ("groups",)
    mixes_channels = True
    variadic = True
    variants = (concat_float4.VARIANT,)
    examples = (
        {"attrs": {}, "inputs": [(2, 3, 2, 4), (2, 3, 2, 2), (2, 3, 2, 6)]},
        {"attrs": {"groups": 2}, "inputs": [(3, 6), (3, 4)]},
        {"attrs": {}, "inputs": [(2, 4)]},
        {"attrs": {}, "inputs": [(3, 2, 5, 4), (3, 2, 5, 12)]},
        {"attrs": {"groups": 3}, "inputs": [(5, 24), (5, 12)]},
    )

    def outputs(self, *inputs):
        groups = self.attrs.groups or 1
        for tensor in inputs:
            if tensor.shape[:-1] != inputs[0].shape[:-1]:
                shapes = " and ".join(str(t.shape) for t in inputs)
                raise LayerError(f"inputs must agree in all but their channels, got {shapes}")
            if tensor.shape[-1] % groups:
                raise LayerError(f"{tensor.shape[-1]} channels do not divide into {groups} groups", attr="groups")
        return Tensor((*inputs[0].shape[:-1], sum(t.shape[-1] for t in inputs)), inputs[0].dtype)

    def onnx(self, nodes, t, *values):
        """Concat, of the parts of each group in turn."""
        joined, _ = nodes.interleaved(values, t.inputs, self.attrs.groups or 1)
        return joined

    def torch(self, code, t, *values):
        """torch.cat, of the parts of each group in turn."""
        joined, _ = code.interleaved(values, t.inputs, self.attrs.groups or 1)
        return joined

    def scalars(self, t, index=None):
        widths = [x.shape[-1] // (self.attrs.groups or 1) for x in t.inputs]
        here = index or 0
        return {
            "channels": t.inputs[here].shape[-1],
            "width": widths[here],
            "offset": sum(widths[:here]),
            "span": sum(widths),
            "total": t.y.shape[-1],
        }

    @forward("cpu", over="x", writes="y", each="x")
    def forward_cpu(start, stop, x, y, channels, width, offset, span, total):
        target, i = y.reshape(y.size), start
        while i < stop:
            run = min(width - i % width, stop - i)
            to = place(i, channels, width, offset, span, total)
            target[to : to + run] = x[i : i + run]
            i += run

    @backward("cpu", over="d_x", writes="d_x", each="x")
    def backward_cpu(start, stop, dy, d_x, channels, width, offset, span, total):
        source, i = dy.reshape(dy.size), start
        while i < stop:
            run = min(width - i % width, stop - i)
            at = place(i, channels, width, offset, span, total)
            d_x[i : i + run] = source[at : at + run]
            i += run

    @forward("cuda", over="x", writes="y", each="x", threads=THREADS, linear=True)
    def forward_cuda(x, y, channels, width, offset, span, total):
        i = cuda.grid(1)
        if i < x.size:
            y[place(i, channels, width, offset, span, total)] = x[i]

    @backward("cuda", over="x", writes="d_x", each="x", threads=THREADS, linear=True)
    def backward_cuda(dy, d_x, channels, width, offset, span, total):
        i = cuda.grid(1)
        if i < d_x.size:
            d_x[i] = dy[place(i, channels, width, offset, span, total)]
