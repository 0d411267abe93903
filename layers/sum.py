"""The elementwise sum of several tensors."""

from netspec.plugin import Layer, LayerError, Tensor, backward, cuda, forward, register


@register("sum")
class Sum(Layer):
    """y = x0 + x1 + ...; all inputs have one shape."""

    variadic = True
    examples = (
        {"attrs": {}, "inputs": [(2, 3, 2, 4), (2, 3, 2, 4), (2, 3, 2, 4)]},
        {"attrs": {}, "inputs": [(3, 6)]},
    )

    def outputs(self, *inputs):
        for tensor in inputs[1:]:
            if tensor.shape != inputs[0].shape:
                raise LayerError(f"inputs must have one shape, got {' and '.join(str(t.shape) for t in inputs)}")
        return Tensor(inputs[0].shape, inputs[0].dtype)

    def scalars(self, t, index=None):
        return {"number": index or 0}

    @forward("cpu", over="y", writes="y", each="x")
    def forward_cpu(start, stop, x, y, number):
        source, total = x[start:stop], y[start:stop]
        if number == 0:
            total[:] = source
        else:
            total += source

    @backward("cpu", over="d_x", writes="d_x", each="x")
    def backward_cpu(start, stop, dy, d_x):
        d_x[start:stop] = dy[start:stop]

    @forward("cuda", over="y", writes="y", each="x", threads=256)
    def forward_cuda(x, y, number):
        i = cuda.grid(1)
        if i < y.size:
            y[i] = x[i] if number == 0 else y[i] + x[i]

    @backward("cuda", over="y", writes="d_x", each="x", threads=256)
    def backward_cuda(dy, d_x):
        i = cuda.grid(1)
        if i < dy.size:
            d_x[i] = dy[i]
