"""Layers whose CUDA kernels cannot be compiled or launched, or give wrong results; see tests/check/test_mistakes.py.

A message must name the lines that end with the comment "told".
"""

import math

import numpy as np
from right_copy import CopyOnBoth

from netspec.plugin import (
    Param,
    backward,
    cuda,
    device,
    forward,
    register,
)

TILE = 128


@register("cuda_shared_shape")
class SharedShape(CopyOnBoth):
    """A shared array whose shape is worked out in the kernel."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        tile = cuda.shared.array(2 * TILE, "float32")  # told
        t, i = cuda.threadIdx.x, cuda.grid(1)
        tile[t] = x[i] if i < x.size else 0.0
        if i < x.size:
            y[i] = tile[t]


@register("cuda_unknown_attribute")
class UnknownAttribute(CopyOnBoth):
    """Arrays have no such attribute."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.length:  # told
            y[i] = x[i]


@register("cuda_unknown_function")
class UnknownFunction(CopyOnBoth):
    """A function that numba.cuda does not have."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = np.cbrt(x[i]) ** 3 + cuda.sync(i)  # told


@register("cuda_wrong_type")
class WrongType(CopyOnBoth):
    """An array where a number is meant."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = math.exp(x)  # told


@device
def wrong_helper(value):
    """Takes a number for an array."""
    return value[0]  # told in cuda_wrong_helper


@register("cuda_wrong_helper")
class WrongHelper(CopyOnBoth):
    """The mistake is in a helper."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = wrong_helper(x[i])


@register("cuda_unsupported")
class Unsupported(CopyOnBoth):
    """Python that numba does not compile."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            import math  # told

            y[i] = math.exp(math.log(x[i]))


@register("cuda_axes")
class TooManyAxes(CopyOnBoth):
    """In a flat pass arrays have one axis."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = x[i, 0]  # told


@register("cuda_unassigned")
class Unassigned(CopyOnBoth):
    """A variable that is used before it has a value."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = total + x[i]  # noqa: F821 # told
        total = 0.0  # noqa: F841


@register("cuda_allocates")
class AllocatesOnCuda(CopyOnBoth):
    """An array of the kernel's own."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            own = np.zeros(4)  # told
            y[i] = x[i] + own[0]


@register("cuda_arguments")
class WrongArguments(CopyOnBoth):
    """A helper that takes one argument is given two."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = wrong_helper(x[i], y[i])  # told


@register("cuda_undefined")
class Undefined(CopyOnBoth):
    """A name that is not defined."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = scale * x[i]  # noqa: F821 # told


@register("cuda_unmarked")
class Unmarked(CopyOnBoth):
    """A helper without its mark."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = unmarked(x[i])  # told


def unmarked(value):
    """Not marked @device."""
    return value


@register("cuda_wrong_name")
class WrongName(CopyOnBoth):
    """A parameter that nothing is called by."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, out):  # told
        i = cuda.grid(1)
        if i < x.size:
            out[i] = x[i]


@register("cuda_grid")
class WrongGrid(CopyOnBoth):
    """Half of the blocks that are needed."""

    examples = ({"attrs": {}, "inputs": [(20, 20)]},)

    @forward("cuda", over="x", writes="y", grid=lambda t: (t.x.size // 256,))
    def forward_cuda(x, y):  # told
        i = cuda.grid(1)
        c = x.shape[1]
        if i < x.size:
            y[i // c, i % c] = x[i // c, i % c]


@register("cuda_threads")
class TooManyThreads(CopyOnBoth):
    """A block has at most 1024 threads."""

    @forward("cuda", over="x", writes="y", threads=2048)
    def forward_cuda(x, y):  # told
        i = cuda.grid(1)
        if i < x.size:
            y[i] = x[i]


@register("cuda_shared_size")
class TooMuchShared(CopyOnBoth):
    """More shared memory than a block has."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):  # told
        tile = cuda.shared.array(70000, "float32")
        i = cuda.grid(1)
        tile[cuda.threadIdx.x] = 0.0
        if i < x.size:
            y[i] = x[i] + tile[cuda.threadIdx.x]


@register("cuda_unwritten")
class Unwritten(CopyOnBoth):
    """Negative gradients are forgotten."""

    @backward("cuda", over="x", writes="d_x")
    def backward_cuda(dy, d_x):  # told
        i = cuda.grid(1)
        if i < d_x.size and dy[i] >= 0.0:
            d_x[i] = dy[i]


@register("cuda_sign")
class WrongSign(CopyOnBoth):
    """The gradient has the wrong sign."""

    @backward("cuda", over="x", writes="d_x")
    def backward_cuda(dy, d_x):  # told
        i = cuda.grid(1)
        if i < d_x.size:
            d_x[i] = -dy[i]


@register("cuda_changes_input")
class ChangesInput(CopyOnBoth):
    """The input is spoilt."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = x[i]
            x[i] = 0.0  # told


@register("cuda_atomics")
class Atomics(CopyOnBoth):
    """Sums of floats in the order in which threads come."""

    def params(self, x):
        return {"bias": Param((x.shape[-1],), {"type": "constant", "value": 0.0})}

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y, bias):
        for i in range(start, stop):
            y[i] = x[i] + bias[i % bias.size]

    @backward("cpu", over="bias", axes=0, writes="d_bias")
    def bias_cpu(start, stop, dy, d_bias):
        rows = dy.reshape(-1, d_bias.size)
        for c in range(start, stop):
            d_bias[c] = 0.0
            for n in range(rows.shape[0]):
                d_bias[c] += rows[n, c]

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y, bias):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = x[i] + bias[i % bias.size]

    @backward("cuda", over="bias", writes="d_bias")
    def zero_cuda(d_bias):
        i = cuda.grid(1)
        if i < d_bias.size:
            d_bias[i] = 0.0

    @backward("cuda", over="x", writes="d_bias")
    def bias_cuda(dy, d_bias):
        i = cuda.grid(1)
        if i < dy.size:
            cuda.atomic.add(d_bias, i % d_bias.size, dy[i])  # told
