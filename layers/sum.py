"""The elementwise sum of several tensors."""

from netspec.plugin import Layer, LayerError, Tensor, backward, cuda, device, forward, load4, register, store4

THREADS, PER_THREAD = 128, 8
"""Threads of a block, and elements that each of them does: two float4s, of which the block's lie side by side."""
BLOCK, SECOND = THREADS * PER_THREAD, 4 * THREADS


@device
def add_block(x, other, y, start):
    """Write a block's sums of two arrays: all loads before the first store."""
    if start + BLOCK <= y.size:
        i = start + 4 * cuda.threadIdx.x
        a, b = load4(x, i), load4(other, i)
        c, d = load4(x, i + SECOND), load4(other, i + SECOND)
        store4(y, i, a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3])
        store4(y, i + SECOND, c[0] + d[0], c[1] + d[1], c[2] + d[2], c[3] + d[3])
    else:
        for i in range(start + cuda.threadIdx.x, y.size, THREADS):
            y[i] = x[i] + other[i]


@device
def copy_block(x, y, start):
    """Copy a block's elements."""
    if start + BLOCK <= y.size:
        i = start + 4 * cuda.threadIdx.x
        a, b = load4(x, i), load4(x, i + SECOND)
        store4(y, i, a[0], a[1], a[2], a[3])
        store4(y, i + SECOND, b[0], b[1], b[2], b[3])
    else:
        for i in range(start + cuda.threadIdx.x, y.size, THREADS):
            y[i] = x[i]


@register("sum")
class Sum(Layer):
    """y = x0 + x1 + ...; all inputs have one shape."""

    variadic = True
    channelwise = True
    examples = (
        {"attrs": {}, "inputs": [(2, 3, 2, 4), (2, 3, 2, 4), (2, 3, 2, 4)]},
        {"attrs": {}, "inputs": [(3, 6)]},
    )

    def onnx(self, nodes, t, *values):
        """Sum."""
        return nodes.add("Sum", *values)

    def torch(self, code, t, *values):
        """+."""
        return " + ".join(values)

    def outputs(self, *inputs):
        for tensor in inputs[1:]:
            if tensor.shape != inputs[0].shape:
                raise LayerError(f"inputs must have one shape, got {' and '.join(str(t.shape) for t in inputs)}")
        return Tensor(inputs[0].shape, inputs[0].dtype)

    def scalars(self, t, index=None):
        return {"number": index or 0, "count": len(t.inputs)}

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

    @forward("cuda", over="y", writes="y", each="x", threads=THREADS, per_thread=PER_THREAD)
    def forward_cuda(x, x0, y, number, count):
        # the second pass adds the first two, so that the first one has nothing to do but for a sum of one
        if number == 1:
            add_block(x0, x, y, BLOCK * cuda.blockIdx.x)
        elif number > 1:
            add_block(y, x, y, BLOCK * cuda.blockIdx.x)
        elif count == 1:
            copy_block(x, y, BLOCK * cuda.blockIdx.x)

    @backward("cuda", over="y", writes="d_x", each="x", threads=THREADS, per_thread=PER_THREAD)
    def backward_cuda(dy, d_x):
        copy_block(dy, d_x, BLOCK * cuda.blockIdx.x)
