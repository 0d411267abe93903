"""Dropout (Hinton et al. 2012; AlexNet, section 4.2)."""

from netspec.plugin import (
    ITERATION,
    Layer,
    Tensor,
    backward,
    bernoulli,
    choice,
    cuda,
    device,
    forward,
    load4,
    number,
    quotient,
    register,
    store4,
    uniform,
    uniforms,
)

MODULE = '''
class PaperDropout(nn.Module):
    """Dropout of 2012: what is kept stays as it is in training, and all is multiplied by ``keep`` in evaluation."""

    def __init__(self, keep):
        super().__init__()
        self.keep = keep

    def forward(self, x):
        return x * torch.bernoulli(torch.full_like(x, self.keep)) if self.training else x * self.keep
'''
"""What nn.Dropout does not do."""


@device
def kept(i, channels, key, iteration, channel_offset, channel_count, keep):
    """Whether the element at place i of this shard is kept; its number is drawn by its place in the whole tensor."""
    index = i // channels * channel_count + channel_offset + i % channels
    return uniform(key, iteration, index) < keep


@register("dropout")
class Dropout(Layer):
    """Each element is kept with probability ``keep``, else zero; drawn anew in each iteration.

    ``mode: paper`` (2012) leaves the kept ones as they are and multiplies all by ``keep`` in evaluation;
    ``mode: inverted`` divides the kept ones by ``keep`` in training and does nothing in evaluation.
    """

    attrs = {
        "keep": number("Probability that an element is kept.", default=0.5, above=0, maximum=1),
        "mode": choice("paper", "inverted", default="paper", description="Where scaling makes up for it."),
    }
    inplace = True
    channelwise = True
    examples = (
        {"attrs": {"keep": 0.6}, "inputs": [(4, 3, 2, 6)]},
        {"attrs": {"keep": 0.3, "mode": "inverted"}, "inputs": [(5, 8)]},
        {"attrs": {"keep": 0.5}, "inputs": [(3, 7)]},
    )

    def outputs(self, x):
        return Tensor(x.shape, x.dtype)

    def saved(self, x):
        return {"mask": Tensor(x.shape, "uint8")} if self.phase == "train" else {}

    def scalars(self, t, index=None):
        keep, paper, train = self.attrs.keep, self.attrs.mode == "paper", self.phase == "train"
        factor = (1.0 if train else keep) if paper else (1.0 / keep if train else 1.0)
        return {"factor": float(factor), "channels": t.x.shape[-1]}

    def onnx(self, nodes, t, x):
        """Mul by ``keep`` where evaluation does so, else nothing."""
        factor = self.scalars(t)["factor"]
        return x if factor == 1.0 else nodes.add("Mul", x, nodes.constant(factor, "keep"))

    def torch(self, code, t, x):
        """nn.Dropout, by the probability to drop; of the paper's mode, a module of its own."""
        if self.attrs.mode == "inverted":
            return f"{code.module('nn.Dropout', round(1 - self.attrs.keep, 12))}({x})"
        return f"{code.module(code.helper('PaperDropout', MODULE), self.attrs.keep)}({x})"

    @forward("cpu", over="y", writes=("y", "mask"), phases=("train",), block=4096)
    def drop_cpu(start, stop, x, y, mask, channels, keep, factor, counters, key, channel_offset, channel_count):
        run = stop if channels == channel_count else channels  # neighbours in the whole tensor
        for first in range(start // run * run, stop, run):
            begin, end = max(first, start), min(first + run, stop)
            place = begin // channels * channel_count + channel_offset + begin % channels
            bernoulli(mask[begin:end], key, counters[ITERATION], place, keep)
        source, target, keeps = x[start:stop], y[start:stop], mask[start:stop]
        for i in range(target.size):  # from 0, so that it is vectorised
            value = source[i] * factor
            target[i] = value if keeps[i] else 0.0

    @backward("cpu", over="d_x", writes="d_x", phases=("train",))
    def backward_cpu(start, stop, dy, d_x, mask, factor):
        source, target, keeps = dy[start:stop], d_x[start:stop], mask[start:stop]
        for i in range(target.size):  # from 0, and with no load that depends on the mask, so that it is vectorised
            value = source[i] * factor
            target[i] = value if keeps[i] else 0.0

    @forward("cpu", over="y", writes="y", phases=("eval", "predict"))
    def scale_cpu(start, stop, x, y, factor):
        source, target = x[start:stop], y[start:stop]
        for i in range(target.size):
            target[i] = source[i] * factor

    @forward("cuda", over="y", writes=("y", "mask"), phases=("train",), threads=256, per_thread=4)
    def drop_cuda(x, y, mask, channels, keep, factor, counters, key, channel_offset, channel_count):
        i = 4 * cuda.grid(1)
        together = (channels | channel_count | channel_offset) & 3 == 0 and y.size < 2**32
        if together and i < y.size:
            p, q, r, s = load4(x, i)
            row = quotient(i, channels)
            index = i + row * (channel_count - channels) + channel_offset
            a, b, c, d = uniforms(key, counters[ITERATION], index)
            store4(mask, i, a < keep, b < keep, c < keep, d < keep)
            p, q = p * factor if a < keep else 0.0, q * factor if b < keep else 0.0
            store4(y, i, p, q, r * factor if c < keep else 0.0, s * factor if d < keep else 0.0)
        else:
            for j in range(i, min(i + 4, y.size)):
                mask[j] = kept(j, channels, key, counters[ITERATION], channel_offset, channel_count, keep)
                y[j] = x[j] * factor if mask[j] else 0.0

    @backward("cuda", over="d_x", writes="d_x", phases=("train",), threads=256, per_thread=4)
    def backward_cuda(dy, d_x, mask, factor):
        i = 4 * cuda.grid(1)
        if i + 4 <= d_x.size:
            (p, q, r, s), (a, b, c, d) = load4(dy, i), load4(mask, i)
            p, q = p * factor if a else 0.0, q * factor if b else 0.0
            store4(d_x, i, p, q, r * factor if c else 0.0, s * factor if d else 0.0)
        else:
            for j in range(i, d_x.size):
                d_x[j] = dy[j] * factor if mask[j] else 0.0

    @forward("cuda", over="y", writes="y", phases=("eval", "predict"), threads=256, per_thread=4)
    def scale_cuda(x, y, factor):
        i = 4 * cuda.grid(1)
        if i + 4 <= y.size:
            p, q, r, s = load4(x, i)
            store4(y, i, p * factor, q * factor, r * factor, s * factor)
        else:
            for j in range(i, y.size):
                y[j] = x[j] * factor
