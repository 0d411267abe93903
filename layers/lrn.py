"""Local response normalisation across channels (AlexNet, section 3.3; cuda-convnet's cmrnorm)."""

from math import prod

from netspec.layers._cpu import lrn_of_five, lrn_rows
from netspec.layers._cuda import lrn_shuffle
from netspec.layers._normalisation import ATTRS, Response, onnx_response, power, response_of, scale_of
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
def scale_at(x, i, width, response):
    """k + alpha * the sum of squares over the window of place i."""
    c = i % width
    total = 0.0
    for j in range(i - min(c, response.before), i + min(width - 1 - c, response.after) + 1):
        total += x[j] * x[j]
    return scale_of(total, response)


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
    variants = (lrn_of_five.VARIANT, lrn_rows.VECTORS, lrn_rows.VARIANT, lrn_shuffle.VARIANT)
    examples = (
        {"attrs": {"alpha": 0.3}, "inputs": [(2, 3, 2, 16)]},
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
        return {"width": self.width(t), "response": response_of(self.attrs, self.attrs.size)}

    def onnx(self, nodes, t, x):
        """LRN, of each group; of even windows, which it centres otherwise, and of vectors in single operators."""
        size, response = self.attrs.size, response_of(self.attrs, self.attrs.size)
        if len(t.x.shape) == 4 and size % 2:
            attributes = {"alpha": response.per_term * size, "beta": response.beta, "bias": response.k, "size": size}
            groups = nodes.pieces(x, t.x, [self.width(t)] * (t.x.shape[-1] // self.width(t)))
            return nodes.joined([nodes.add("LRN", group, **attributes) for group in groups], t.y)
        first = nodes.add("Shape", x)
        apart = nodes.add("Reshape", x, nodes.constant([-1, 1, self.width(t), prod(t.x.shape[1:-1])], "groups"))
        pads = [response.before, 0, response.after, 0]
        squares = nodes.add("Mul", apart, apart)
        means = nodes.add("AveragePool", squares, kernel_shape=[size, 1], pads=pads, count_include_pad=1)
        return nodes.add("Reshape", onnx_response(nodes, apart, means, response, size), first)

    def width(self, t):
        """Channels of a group."""
        return t.x.shape[-1] // (self.attrs.groups or 1)

    def workspace(self, t, variant, direction):
        plain = (variant, direction) == ("plain", "backward")
        return {"ratio": Workspace(t.x.shape)} if plain else super().workspace(t, variant, direction)

    def flops(self, t):
        window = 2 * self.attrs.size
        return Flops(forward=t.x.size * (window + 5), d_inputs=t.x.size * (2 * window + 10))

    def torch(self, code, t, x):
        """nn.LocalResponseNorm, of each group; its alpha is divided by the size."""
        size, rank, response = self.attrs.size, len(t.x.shape), response_of(self.attrs, self.attrs.size)
        alpha = float(f"{response.per_term * size:.12g}")
        norm = code.module("nn.LocalResponseNorm", size, alpha=alpha, beta=response.beta, k=response.k)
        values = {2: f"{x}[:, :, None]", 5: f"{x}.flatten(0, 1)"}.get(rank, x)
        groups = self.attrs.groups or 1
        made = f"{norm}({values})"
        if groups > 1:
            made = f"torch.cat([{norm}(part) for part in {values}.chunk({groups}, 1)], 1)"
        return made + {2: "[:, :, 0]", 5: f".unflatten(0, {x}.shape[:2])"}.get(rank, "")

    @forward("cpu", over="y", writes="y")
    def forward_cpu(start, stop, x, y, width, response: Response):
        for i in range(start, stop):
            y[i] = x[i] * power(scale_at(x, i, width, response), response.beta)

    @backward("cpu", over="d_x", writes=("d_x", "ratio"))
    def ratio_cpu(start, stop, x, dy, d_x, ratio, width, response: Response):
        for i in range(start, stop):
            scale = scale_at(x, i, width, response)
            d_x[i] = dy[i] * power(scale, response.beta)
            ratio[i] = d_x[i] * x[i] / scale

    @backward("cpu", over="d_x", writes="d_x")
    def backward_cpu(start, stop, x, d_x, ratio, width, response: Response):
        for i in range(start, stop):
            d_x[i] -= response.coupling * x[i] * window_sum(ratio, i, width, response.after, response.before)

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y, width, response: Response):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = x[i] * power(scale_at(x, i, width, response), response.beta)

    @backward("cuda", over="x", writes=("d_x", "ratio"))
    def ratio_cuda(x, dy, d_x, ratio, width, response: Response):
        i = cuda.grid(1)
        if i < x.size:
            scale = scale_at(x, i, width, response)
            share = dy[i] * power(scale, response.beta)
            d_x[i] = share
            ratio[i] = share * x[i] / scale

    @backward("cuda", over="x", writes="d_x")
    def backward_cuda(x, d_x, ratio, width, response: Response):
        i = cuda.grid(1)
        if i < x.size:
            d_x[i] -= response.coupling * x[i] * window_sum(ratio, i, width, response.after, response.before)
