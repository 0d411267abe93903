"""Response normalisation within each channel (cuda-convnet's rnorm): an extra layer of the network as run in 2012."""

from netspec.layers._cuda import lrn_within_float4
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
    number,
    register,
)


@device
def add_squares(x, n, h, w, before, after, out):
    """Overwrite out (C,) with the sums of squares over the window around (h, w) of image n."""
    out[:] = 0.0
    for i in range(max(h - before, 0), min(h + after + 1, x.shape[1])):
        for j in range(max(w - before, 0), min(w + after + 1, x.shape[2])):
            source = x[n, i, j]
            for c in range(out.size):
                out[c] += source[c] * source[c]


@device
def subtract_windows(ratio, n, h, w, response, x, out):
    """Subtract coupling * x * (the sum of ratio over the windows that reach here) from out (C,)."""
    here, before, after, coupling = x[n, h, w], response.after, response.before, response.coupling
    for i in range(max(h - before, 0), min(h + after + 1, ratio.shape[1])):
        for j in range(max(w - before, 0), min(w + after + 1, ratio.shape[2])):
            source = ratio[n, i, j]
            for c in range(out.size):
                out[c] -= coupling * here[c] * source[c]


@device
def one_sum(x, n, h, w, c, before, after, squares):
    """The sum of values, or of squares, over the window around one place."""
    total = 0.0
    for i in range(max(h - before, 0), min(h + after + 1, x.shape[1])):
        for j in range(max(w - before, 0), min(w + after + 1, x.shape[2])):
            total += x[n, i, j, c] * (x[n, i, j, c] if squares else 1.0)
    return total


@device
def unravel(i, x):
    """The four indices of element i."""
    c, rest = i % x.shape[3], i // x.shape[3]
    w, rest = rest % x.shape[2], rest // x.shape[2]
    return rest // x.shape[1], rest % x.shape[1], w, c


@register("lrn_within")
class WithinChannelNormalisation(Layer):
    """y = x / (k + alpha * sum of squares over the size x size window around x, in its channel) ** beta

    The window begins size // 2 rows above and columns left of x and is clipped at the edges. The defaults of alpha,
    beta and k are the values of 2012; the released source also divided alpha by the size of the window, which
    ``scaling: window`` does.
    """

    attrs = {
        **ATTRS,
        "alpha": number("Factor of the sum of squares.", default=1e-3),
        "k": number("Constant beside the sum.", default=1.0, above=0),
    }
    variants = (lrn_within_float4.VARIANT,)
    channelwise = True
    examples = (
        {"attrs": {"size": 3, "alpha": 0.3}, "inputs": [(2, 4, 5, 3)]},
        {"attrs": {"size": 5, "alpha": 0.3}, "inputs": [(2, 7, 6, 4)]},
        {"attrs": {"size": 6, "alpha": 0.4, "beta": 0.6}, "inputs": [(1, 3, 9, 8)]},
        {"attrs": {"size": 4, "alpha": 0.9, "beta": 0.6, "k": 2.0, "scaling": "window"}, "inputs": [(2, 5, 3, 2)]},
    )

    def onnx(self, nodes, t, x):
        """Squares averaged over windows by AveragePool, and the rest in single operators."""
        size = self.attrs.size
        response, pads = response_of(self.attrs, size * size), [size // 2, size // 2, (size - 1) // 2, (size - 1) // 2]
        squares = nodes.add("Mul", x, x)
        means = nodes.add("AveragePool", squares, kernel_shape=[size, size], pads=pads, count_include_pad=1)
        return onnx_response(nodes, x, means, response, size * size)

    def torch(self, code, t, x):
        """Squares averaged over windows, and the formula."""
        size, response = self.attrs.size, response_of(self.attrs, self.attrs.size**2)
        before, after = size // 2, (size - 1) // 2
        means = f"F.avg_pool2d(F.pad({x} ** 2, ({before}, {after}, {before}, {after})), {size}, 1)"
        return f"{x} / ({response.k} + {response.per_term * size**2} * {means}) ** {response.beta}"

    def outputs(self, x):
        if len(x.shape) != 4:
            raise LayerError(f"the input must have the shape (batch, height, width, channels), got {x.shape}")
        return Tensor(x.shape, x.dtype)

    def scalars(self, t, index=None):
        return {"response": response_of(self.attrs, self.attrs.size**2)}

    def workspace(self, t, variant, direction):
        """A pixel's sums, float32 whatever is stored; the ratios that the first backward pass leaves to the second."""
        ratio = {"ratio": Workspace(t.x.shape)} if direction == "backward" else {}
        return {"sums": Workspace(t.x.shape[3:], per="member"), **ratio}

    def flops(self, t):
        window = 2 * self.attrs.size**2
        return Flops(forward=t.x.size * (window + 5), d_inputs=t.x.size * (2 * window + 10))

    @forward("cpu", over="y", axes=(0, 1), block=8, writes="y")
    def forward_cpu(start, stop, x, y, sums, response: Response):
        for row in range(start, stop):
            n, h = row // x.shape[1], row % x.shape[1]
            for w in range(x.shape[2]):
                source, out = x[n, h, w], y[n, h, w]
                add_squares(x, n, h, w, response.before, response.after, sums)
                for c in range(out.size):
                    out[c] = source[c] * power(scale_of(sums[c], response), response.beta)

    @backward("cpu", over="d_x", axes=(0, 1), block=8, writes=("d_x", "ratio"))
    def ratio_cpu(start, stop, x, dy, d_x, ratio, sums, response: Response):
        for row in range(start, stop):
            n, h = row // x.shape[1], row % x.shape[1]
            for w in range(x.shape[2]):
                source, gradient, out, share = x[n, h, w], dy[n, h, w], d_x[n, h, w], ratio[n, h, w]
                add_squares(x, n, h, w, response.before, response.after, sums)
                for c in range(out.size):
                    scale = scale_of(sums[c], response)
                    factor = gradient[c] * power(scale, response.beta)
                    out[c], share[c] = factor, factor * source[c] / scale

    @backward("cpu", over="d_x", axes=(0, 1), block=8, writes="d_x")
    def backward_cpu(start, stop, x, d_x, ratio, sums, response: Response):
        for row in range(start, stop):
            n, h = row // x.shape[1], row % x.shape[1]
            for w in range(x.shape[2]):
                sums[:] = d_x[n, h, w]
                subtract_windows(ratio, n, h, w, response, x, sums)
                d_x[n, h, w] = sums

    @forward("cuda", over="x", axes=(0, 1, 2, 3), writes="y")
    def forward_cuda(x, y, response: Response):
        i = cuda.grid(1)
        if i < x.size:
            n, h, w, c = unravel(i, x)
            scale = scale_of(one_sum(x, n, h, w, c, response.before, response.after, True), response)
            y[n, h, w, c] = x[n, h, w, c] * power(scale, response.beta)

    @backward("cuda", over="x", axes=(0, 1, 2, 3), writes=("d_x", "ratio"))
    def ratio_cuda(x, dy, d_x, ratio, response: Response):
        i = cuda.grid(1)
        if i < x.size:
            n, h, w, c = unravel(i, x)
            scale = scale_of(one_sum(x, n, h, w, c, response.before, response.after, True), response)
            share = dy[n, h, w, c] * power(scale, response.beta)
            d_x[n, h, w, c] = share
            ratio[n, h, w, c] = share * x[n, h, w, c] / scale

    @backward("cuda", over="x", axes=(0, 1, 2, 3), writes="d_x")
    def backward_cuda(x, d_x, ratio, response: Response):
        i = cuda.grid(1)
        if i < x.size:
            n, h, w, c = unravel(i, x)
            total = one_sum(ratio, n, h, w, c, response.after, response.before, False)
            d_x[n, h, w, c] -= response.coupling * x[n, h, w, c] * total
