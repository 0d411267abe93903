"""A layer with state that overflows long before its output does."""

from netspec.plugin import Layer, State, Tensor, backward, forward, register


@register("energy")
class Energy(Layer):
    """y = x; in training energy becomes the sum of the squares of each channel over the batch, which nobody reads."""

    examples = ({"attrs": {}, "inputs": [(3, 2, 2, 4)]},)

    def outputs(self, x):
        return Tensor(x.shape, x.dtype)

    def state(self, x):
        return {"energy": State((x.shape[-1],))}

    @forward("cpu", over="x", writes="y")
    def copy_cpu(start, stop, x, y):
        y[start:stop] = x[start:stop]

    @forward("cpu", over="x", axes=3, writes="next_energy", phases=("train",))
    def renew_cpu(start, stop, x, next_energy):
        for c in range(start, stop):
            next_energy[c] = (x[:, :, :, c] * x[:, :, :, c]).sum()

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        d_x[start:stop] = dy[start:stop]
