"""Several tensors joined along their channels."""

from netspec.plugin import (
    Layer,
    LayerError,
    Tensor,
    backward,
    cuda,
    device,
    forward,
    integer,
    load4,
    quotient,
    register,
    store4,
)

THREADS = 256


@device
def place(i, channels, width, offset, span, total):
    """Where element i of one input lies in the output."""
    c = i % channels
    return i // channels * total + c // width * span + offset + c % width


@device
def place_of_four(four, channels, width, offset, span, total):
    """Where four channels lie in the output, all of whose parts are fours of channels; ``four`` counts them in x."""
    channels, width = channels >> 2, width >> 2
    row = quotient(four, channels)
    c, to = four - row * channels, row * total + offset
    if width < channels:
        group = quotient(c, width)
        return to + group * span + 4 * (c - group * width)
    return to + 4 * c


@device
def pair(size):
    """Which two fours of channels a thread copies; the second may be the first one again."""
    first = 2 * THREADS * cuda.blockIdx.x + cuda.threadIdx.x
    second = first + THREADS
    return first, second if 4 * second < size else first


@register("concat")
class Concat(Layer):
    """y = the channels of x0, then those of x1, ...; with groups, group g of y holds the g-th share of each input."""

    attrs = {"groups": integer("Parts of the channels that are joined each for itself.", default=None, minimum=1)}
    divided = ("groups",)
    mixes_channels = True
    variadic = True
    prefer = {"cuda": ("vector",)}
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

    def supports(self, t, variant):
        groups = self.attrs.groups or 1
        fours = all(x.shape[-1] // groups % 4 == 0 for x in t.inputs)
        return variant == "plain" or (fours and t.y.size < 2**32)

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

    @forward("cuda", over="x", writes="y", each="x", threads=THREADS, per_thread=8, linear=True, variant="vector")
    def forward_vector_cuda(x, y, channels, width, offset, span, total):
        first, second = pair(x.size)
        if 4 * first < x.size:
            a, b = load4(x, 4 * first), load4(x, 4 * second)
            store4(y, place_of_four(first, channels, width, offset, span, total), a[0], a[1], a[2], a[3])
            store4(y, place_of_four(second, channels, width, offset, span, total), b[0], b[1], b[2], b[3])

    @backward("cuda", over="x", writes="d_x", each="x", threads=THREADS, per_thread=8, linear=True, variant="vector")
    def backward_vector_cuda(dy, d_x, channels, width, offset, span, total):
        first, second = pair(d_x.size)
        if 4 * first < d_x.size:
            a = load4(dy, place_of_four(first, channels, width, offset, span, total))
            b = load4(dy, place_of_four(second, channels, width, offset, span, total))
            store4(d_x, 4 * first, a[0], a[1], a[2], a[3])
            store4(d_x, 4 * second, b[0], b[1], b[2], b[3])
