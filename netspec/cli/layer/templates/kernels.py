"""A learned offset for each place: what the layer is in a line, and where it is from (authors and year)."""

from netspec.plugin import Flops, Layer, Param, Tensor, backward, cuda, forward, initialiser, register


@register("my_layer")
class MyLayer(Layer):
    """y[n, ...] = x[n, ...] + weight[...]"""

    attrs = {"init": initialiser("How the offsets start.", default={"type": "gaussian", "std": 0.02})}

    def outputs(self, x):
        """As the input."""
        return Tensor(x.shape, x.dtype)

    def params(self, x):
        """weight: an offset for each element of an image; of a layer over two devices each has its channels."""
        return {"weight": Param(x.shape[1:], self.attrs.init)}

    def flops(self, t):
        return Flops(forward=t.y.size, d_params=t.x.size)

    # Functions without self. They ask by name for inputs, outputs, parameters, attributes that are numbers, and with d_
    # for gradients; they write all of what ``writes`` names, and nothing else.
    # In a flat pass positions are the elements of ``over``, and what has its shape has one axis: d_weight, and y below.
    # A CPU kernel does the positions from start to stop, a CUDA kernel the one that is its thread's.

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, weight, y):
        offsets = weight.reshape(weight.size)
        for i in range(start, stop):
            y[i] = x[i] + offsets[i % offsets.size]

    @backward("cpu", over="d_x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        d_x[start:stop] = dy[start:stop]

    @backward("cpu", over="d_weight", writes="d_weight")
    def weight_cpu(start, stop, dy, d_weight):
        gradients = dy.reshape(dy.shape[0], d_weight.size)
        d_weight[start:stop] = 0.0
        for n in range(dy.shape[0]):
            for i in range(start, stop):
                d_weight[i] += gradients[n, i]

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, weight, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = x[i] + weight.flat[i % weight.size]

    @backward("cuda", over="d_x", writes="d_x")
    def backward_cuda(dy, d_x):
        i = cuda.grid(1)
        if i < d_x.size:
            d_x[i] = dy[i]

    @backward("cuda", over="d_weight", writes="d_weight")
    def weight_cuda(dy, d_weight):
        i = cuda.grid(1)
        if i < d_weight.size:
            total = 0.0
            for n in range(dy.shape[0]):
                total += dy.flat[n * d_weight.size + i]
            d_weight[i] = total
