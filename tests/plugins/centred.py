"""A layer with state: channels centred by a running mean, which training renews and evaluation reads."""

from netspec.plugin import Layer, State, Tensor, backward, forward, number, register

MODULE = '''
class Centred(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))

    def forward(self, x):
        return x - self.mean
'''


@register("centred")
class Centred(Layer):
    """y = x - mean; in training mean becomes keep * mean + (1 - keep) * the batch's mean of each channel."""

    attrs = {"keep": number("Share of the old mean.", default=0.5, minimum=0, maximum=1)}
    examples = ({"attrs": {"keep": 0.25}, "inputs": [(3, 2, 2, 4)]},)

    def outputs(self, x):
        return Tensor(x.shape, x.dtype)

    def state(self, x):
        return {"mean": State((x.shape[-1],))}

    def onnx(self, nodes, t, x):
        """Sub, of one mean a channel."""
        mean = nodes.params["mean"].reshape(-1, *[1] * (len(t.x.shape) - 2))
        return nodes.add("Sub", x, nodes.constant(mean, "mean"))

    def torch(self, code, t, x):
        """A module that has the mean of each channel."""
        rank = len(t.x.shape)
        code.holds("mean", shape=(-1, *[1] * (rank - 2)))
        module = code.module(code.helper("Centred", MODULE), (*t.mean.shape, *[1] * (rank - 2)))
        return f"{module}({x})"

    @forward("cpu", over="x", axes=0, writes="y")
    def centre_cpu(start, stop, x, mean, y):
        for n in range(start, stop):
            y[n] = x[n] - mean

    @forward("cpu", over="x", axes=3, writes="next_mean", phases=("train",))
    def renew_cpu(start, stop, x, mean, next_mean, keep):
        for c in range(start, stop):
            next_mean[c] = keep * mean[c] + (1.0 - keep) * x[:, :, :, c].mean()

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        for i in range(start, stop):
            d_x[i] = dy[i]
