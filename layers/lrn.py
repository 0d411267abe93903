"""Local response normalisation across channels (AlexNet, section 3.3; cuda-convnet's cmrnorm)."""

from netspec.layers._cpu.lrn_rows import (
    TILE,
    combined,
    powers,
    powers_and_factors,
    scaled,
    spread_ratios,
    spread_squares,
    window_sums,
)
from netspec.layers._cuda import lrn as lrn_cuda
from netspec.layers._response import ATTRS, constants, power
from netspec.plugin import (
    Flops,
    Layer,
    LayerError,
    Tensor,
    Workspace,
    backward,
    cuda,
    device,
    forward,
    integer,
    register,
)


@device
def window_sum(values, i, width, before, after):
    """The sum of values over the window of place i, which ends where its group of channels ends."""
    c = i % width
    total = 0.0
    for j in range(i - min(c, before), i + min(width - 1 - c, after) + 1):
        total += values[j]
    return total


@device
def scale_at(x, i, width, before, after, k, per_term):
    """k + alpha * the sum of squares over the window of place i."""
    c = i % width
    total = 0.0
    for j in range(i - min(c, before), i + min(width - 1 - c, after) + 1):
        total += x[j] * x[j]
    return k + per_term * total


def _rows(t):
    """Elements in one block: whole rows of channels, near 64 Ki elements."""
    return t.x.shape[-1] * max(1, 65536 // t.x.shape[-1])


@register("lrn")
class ResponseNormalisation(Layer):
    """y[c] = x[c] / (k + alpha * sum of x[j] ** 2 over the channels j near c) ** beta

    The window holds ``size`` channels, from c - size // 2 on; it is clipped at the first and the last channel of its
    group. Defaults are the paper's. The released code of 2012, Caffe and PyTorch divide alpha by the window's size:
    ``scaling: window``.
    """

    attrs = {**ATTRS, "groups": integer("Parts of the channels that do not see each other.", default=None, minimum=1)}
    divided = ("groups",)
    mixes_channels = True
    prefer = {"cpu": ("rows",), "cuda": ("vector",)}
    examples = (
        {"attrs": {"alpha": 0.3}, "inputs": [(2, 3, 2, 8)]},
        {"attrs": {"size": 3, "alpha": 0.5, "beta": 0.6, "k": 1.5, "scaling": "window"}, "inputs": [(3, 6)]},
        {"attrs": {"size": 4, "alpha": 0.4, "groups": 2}, "inputs": [(2, 1, 2, 12)]},
        {"attrs": {"size": 9, "alpha": 0.2, "k": 1.0}, "inputs": [(2, 2, 2, 4)]},
        {"attrs": {"size": 4, "alpha": 0.9, "beta": 0.6, "groups": 3}, "inputs": [(3, 24)]},
    )

    def outputs(self, x):
        groups = self.attrs.groups or 1
        if x.shape[-1] % groups:
            raise LayerError(f"{x.shape[-1]} channels do not divide into {groups} groups", attr="groups")
        return Tensor(x.shape, x.dtype)

    def scalars(self, t, index=None):
        width = t.x.shape[-1] // (self.attrs.groups or 1)
        return {"width": width, **constants(self.attrs, self.attrs.size)}

    def supports(self, t, variant):
        width = t.x.shape[-1] // (self.attrs.groups or 1)
        return variant != "vector" or (self.attrs.size <= lrn_cuda.REACH and width % 4 == 0 and t.x.size < 2**32)

    def workspace(self, t, variant, direction):
        if variant == "vector":
            return {}
        if variant == "plain":
            return {"ratio": Workspace(t.x.shape)} if direction == "backward" else {}
        width, pad = t.x.shape[-1] // (self.attrs.groups or 1), self.attrs.size // 2
        length = pad + max(1, TILE // (width + pad)) * (width + pad)
        names = ("tile", "sums") if direction == "forward" else ("tile", "sums", "factors")
        return {name: Workspace((length,), per="member") for name in names}

    def flops(self, t):
        window = 2 * self.attrs.size
        return Flops(forward=t.x.size * (window + 5), d_inputs=t.x.size * (2 * window + 10))

    @forward("cpu", over="y", writes="y")
    def forward_cpu(start, stop, x, y, width, before, after, k, per_term, beta):
        for i in range(start, stop):
            y[i] = x[i] * power(scale_at(x, i, width, before, after, k, per_term), beta)

    @backward("cpu", over="d_x", writes=("d_x", "ratio"))
    def ratio_cpu(start, stop, x, dy, d_x, ratio, width, before, after, k, per_term, beta):
        for i in range(start, stop):
            scale = scale_at(x, i, width, before, after, k, per_term)
            d_x[i] = dy[i] * power(scale, beta)
            ratio[i] = d_x[i] * x[i] / scale

    @backward("cpu", over="d_x", writes="d_x")
    def backward_cpu(start, stop, x, d_x, ratio, width, before, after, coupling):
        for i in range(start, stop):
            d_x[i] -= coupling * x[i] * window_sum(ratio, i, width, after, before)

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y, width, before, after, k, per_term, beta):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = x[i] * power(scale_at(x, i, width, before, after, k, per_term), beta)

    @backward("cuda", over="x", writes=("d_x", "ratio"))
    def ratio_cuda(x, dy, d_x, ratio, width, before, after, k, per_term, beta):
        i = cuda.grid(1)
        if i < x.size:
            scale = scale_at(x, i, width, before, after, k, per_term)
            share = dy[i] * power(scale, beta)
            d_x[i] = share
            ratio[i] = share * x[i] / scale

    @backward("cuda", over="x", writes="d_x")
    def backward_cuda(x, d_x, ratio, width, before, after, coupling):
        i = cuda.grid(1)
        if i < x.size:
            d_x[i] -= coupling * x[i] * window_sum(ratio, i, width, after, before)

    @forward("cpu", over="y", writes="y", block=_rows, variant="rows")
    def forward_rows(start, stop, x, y, tile, sums, width, before, after, k, per_term, beta):
        most = tile.size // (width + before)
        for first in range(start, stop, most * width):
            count = min(most, (stop - first) // width)
            length = count * (width + before) - before
            spread_squares(x[first:], tile, count, width, before)
            window_sums(tile, sums, before, length, before, after)
            powers(sums, before, length, k, per_term, beta)
            scaled(x[first:], sums, y[first:], count, width, before)

    @backward("cpu", over="d_x", writes="d_x", block=_rows, variant="rows")
    def backward_rows(start, stop, x, dy, d_x, tile, sums, factors, width, before, after, k, per_term, coupling, beta):
        most = tile.size // (width + before)
        for first in range(start, stop, most * width):
            count = min(most, (stop - first) // width)
            length = count * (width + before) - before
            spread_squares(x[first:], tile, count, width, before)
            window_sums(tile, sums, before, length, before, after)
            powers_and_factors(sums, factors, before, length, k, per_term, beta)
            spread_ratios(x[first:], dy[first:], factors, tile, count, width, before)
            window_sums(tile, factors, before, length, after, before)
            combined(x[first:], dy[first:], sums, factors, d_x[first:], coupling, count, width, before)

    forward_vector_cuda, backward_vector_cuda = lrn_cuda.forward_vector_cuda, lrn_cuda.backward_vector_cuda
