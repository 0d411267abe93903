"""Layers whose CUDA kernels, or declarations, have one mistake each; tests/check/test_mistakes.py says what is told.

A message must name the lines that end with a comment "told".
"""

import math

import numpy as np

from netspec.plugin import (
    Channelwise,
    Layer,
    LayerError,
    Param,
    Tensor,
    Workspace,
    backward,
    cuda,
    device,
    forward,
    integer,
    load4,
    per_channel,
    per_element,
    register,
    shuffle_down,
)

TILE, TWICE = 128, 256


class Copy(Layer):
    """y = x, rightly: the wrong layers change one thing."""

    def outputs(self, x):
        return Tensor(x.shape)

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = x[i]

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        for i in range(start, stop):
            d_x[i] = dy[i]

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = x[i]

    @backward("cuda", over="x", writes="d_x")
    def backward_cuda(dy, d_x):
        i = cuda.grid(1)
        if i < d_x.size:
            d_x[i] = dy[i]


@register("cuda_race")
class Race(Copy):
    """No barrier between what a thread writes and its neighbour reads."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        tile = cuda.shared.array(TILE, "float32")
        t, i = cuda.threadIdx.x, cuda.grid(1)
        tile[t] = x[i] if i < x.size else 0.0  # told
        if i < x.size:
            y[i] = x[i] + 0.0 * tile[(t + 1) % TILE]  # told


@device
def neighbour(values, t):
    """The value of another thread."""
    return values[0, (t + 1) % TILE]  # told in cuda_race_in_helper


@register("cuda_race_in_helper")
class RaceInHelper(Copy):
    """The same, where a helper reads; the array has two axes."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        tile = cuda.shared.array((2, TILE), "float32")
        t, i = cuda.threadIdx.x, cuda.grid(1)
        tile[0, t] = x[i] if i < x.size else 0.0  # told
        if i < x.size:
            y[i] = x[i] + 0.0 * neighbour(tile, t)  # told


@register("cuda_race_in_block")
class RaceInBlock(Copy):
    """Every thread writes the first element."""

    @backward("cuda", over="x", writes="d_x")
    def backward_cuda(dy, d_x):
        i = cuda.grid(1)
        if i < d_x.size:
            d_x[i] = dy[i]  # told
            d_x[0] = dy[0]  # told


@register("cuda_race_over_blocks")
class RaceOverBlocks(Copy):
    """The last thread of each block writes one element."""

    def workspace(self, t, variant, direction):
        return {"total": Workspace((1,))} if direction == "forward" else {}

    @forward("cuda", over="x", writes=("y", "total"))
    def forward_cuda(x, y, total):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = x[i]
        if cuda.threadIdx.x == TILE - 1 - cuda.blockIdx.x * (TILE - 1):
            total[0] = 1.0  # told


@register("cuda_barrier")
class DivergentBarrier(Copy):
    """Threads beyond the end return before the barrier."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        tile = cuda.shared.array(TILE, "float32")
        t, i = cuda.threadIdx.x, cuda.grid(1)
        if i >= x.size:
            return
        tile[t] = x[i]
        cuda.syncthreads()  # told
        y[i] = tile[t]


@register("cuda_barriers")
class TwoBarriers(Copy):
    """Odd and even threads wait at barriers of their own, and the even ones once more."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        t, i = cuda.threadIdx.x, cuda.grid(1)
        if t % 2 == 0:
            cuda.syncthreads()  # told
        if i < x.size:
            y[i] = x[i]


@register("cuda_reads_outside")
class ReadsOutside(Copy):
    """The neighbour of the last element."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = x[i] + 0.0 * x[i + 1]  # told


@register("cuda_writes_outside")
class WritesOutside(Copy):
    """No check whether a thread has an element."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i <= x.size:
            y[i] = 1.0 if i == x.size else x[i]  # told


@register("cuda_writes_outside_axes")
class WritesOutsideAxes(Copy):
    """A row too many, in an array of two axes."""

    examples = ({"attrs": {}, "inputs": [(5, 4)]},)

    @forward("cuda", over="x", axes=0, writes="y")
    def forward_cuda(x, y):
        n = cuda.grid(1)
        if n <= x.shape[0]:
            for c in range(x.shape[1]):
                y[n, c] = 1.0 if n == x.shape[0] else x[n, c]  # told


@register("cuda_shared_outside")
class SharedOutside(Copy):
    """One element too many of a shared array."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        tile = cuda.shared.array(TILE, "float32")
        t, i = cuda.threadIdx.x, cuda.grid(1)
        tile[t + 1] = x[i] if i < x.size else 0.0  # told
        cuda.syncthreads()
        if i < x.size:
            y[i] = tile[t + 1]


@register("cuda_shared_unset")
class SharedUnset(Copy):
    """A shared array of which half is written."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        tile = cuda.shared.array(TWICE, "float32")
        t, i = cuda.threadIdx.x, cuda.grid(1)
        tile[t] = x[i] if i < x.size else 0.0
        cuda.syncthreads()
        if i < x.size:
            y[i] = tile[t] + 0.0 * tile[t + TILE]  # told


@register("cuda_shared_shape")
class SharedShape(Copy):
    """A shared array whose shape is worked out in the kernel."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        tile = cuda.shared.array(2 * TILE, "float32")  # told
        t, i = cuda.threadIdx.x, cuda.grid(1)
        tile[t] = x[i] if i < x.size else 0.0
        if i < x.size:
            y[i] = tile[t]


@register("cuda_shared_next")
class SharedNext(Copy):
    """An index that leads from one shared array into the next."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        left = cuda.shared.array(TILE, "float32")
        right = cuda.shared.array(TILE, "float32")
        t, i = cuda.threadIdx.x, cuda.grid(1)
        left[t] = right[t] = x[i] if i < x.size else 0.0
        cuda.syncthreads()
        if i < x.size:
            y[i] = x[i] + 0.0 * (left[t + 1] + right[t])  # told


@register("cuda_reads_output")
class ReadsOutput(Copy):
    """The gradient is added to, not overwritten."""

    @backward("cuda", over="x", writes="d_x")
    def backward_cuda(dy, d_x):
        i = cuda.grid(1)
        if i < d_x.size:
            d_x[i] += dy[i]  # told


@register("cuda_workspace_unset")
class WorkspaceUnset(Copy):
    """Scratch memory is taken for zeros."""

    def workspace(self, t, variant, direction):
        return {"scratch": Workspace(t.x.shape)} if direction == "forward" else {}

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y, scratch):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = x[i] + scratch[i]  # told


@register("cuda_misaligned")
class Misaligned(Copy):
    """Four neighbours from an index that is no multiple of four."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i + 3 < x.size:
            a, b, c, d = load4(x, i)  # told
            y[i] = a
        elif i < x.size:
            y[i] = x[i]


@register("cuda_shuffle")
class PartialShuffle(Copy):
    """Lanes read from lanes that are not there."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = x[i] + 0.0 * shuffle_down(x[i], 16)  # told


@register("cuda_unknown_attribute")
class UnknownAttribute(Copy):
    """Arrays have no such attribute."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.length:  # told
            y[i] = x[i]


@register("cuda_unknown_function")
class UnknownFunction(Copy):
    """A function that numba.cuda does not have."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = np.cbrt(x[i]) ** 3 + cuda.sync(i)  # told


@register("cuda_wrong_type")
class WrongType(Copy):
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
class WrongHelper(Copy):
    """The mistake is in a helper."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = wrong_helper(x[i])


@register("cuda_unsupported")
class Unsupported(Copy):
    """Python that numba does not compile."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        try:  # told
            y[i] = x[i]
        except* IndexError:
            pass


@register("cuda_undefined")
class Undefined(Copy):
    """A name that is not defined."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = scale * x[i]  # noqa: F821 # told


@register("cuda_unmarked")
class Unmarked(Copy):
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
class WrongName(Copy):
    """A parameter that nothing is called by."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, out):  # told
        i = cuda.grid(1)
        if i < x.size:
            out[i] = x[i]


@register("cuda_grid")
class WrongGrid(Copy):
    """Half of the blocks that are needed."""

    examples = ({"attrs": {}, "inputs": [(20, 20)]},)

    @forward("cuda", over="x", writes="y", grid=lambda t: (t.x.size // 256,))
    def forward_cuda(x, y):  # told
        i = cuda.grid(1)
        c = x.shape[1]
        if i < x.size:
            y[i // c, i % c] = x[i // c, i % c]


@register("cuda_threads")
class TooManyThreads(Copy):
    """A block has at most 1024 threads."""

    @forward("cuda", over="x", writes="y", threads=2048)
    def forward_cuda(x, y):  # told
        i = cuda.grid(1)
        if i < x.size:
            y[i] = x[i]


@register("cuda_shared_size")
class TooMuchShared(Copy):
    """More shared memory than a block has."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):  # told
        tile = cuda.shared.array(70000, "float32")
        i = cuda.grid(1)
        tile[cuda.threadIdx.x] = 0.0
        if i < x.size:
            y[i] = x[i] + tile[cuda.threadIdx.x]


@register("cuda_unwritten")
class Unwritten(Copy):
    """Negative gradients are forgotten."""

    @backward("cuda", over="x", writes="d_x")
    def backward_cuda(dy, d_x):  # told
        i = cuda.grid(1)
        if i < d_x.size and dy[i] >= 0.0:
            d_x[i] = dy[i]


@register("cuda_sign")
class WrongSign(Copy):
    """The gradient has the wrong sign."""

    @backward("cuda", over="x", writes="d_x")
    def backward_cuda(dy, d_x):  # told
        i = cuda.grid(1)
        if i < d_x.size:
            d_x[i] = -dy[i]


@register("cuda_changes_input")
class ChangesInput(Copy):
    """The input is spoilt."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):  # told
        i = cuda.grid(1)
        if i < x.size:
            y[i] = x[i]
            x[i] = 0.0


@register("cuda_atomics")
class Atomics(Copy):
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


@register("uneven")
class Uneven(Copy):
    """A parameter of a fixed length, which two devices cannot halve."""

    def params(self, x):
        return {"shift": Param((3,), {"type": "constant", "value": 0.0})}

    @backward("cpu", over="shift", writes="d_shift")
    def shift_cpu(start, stop, d_shift):
        for i in range(start, stop):
            d_shift[i] = 0.0

    @backward("cuda", over="shift", writes="d_shift")
    def shift_cuda(d_shift):
        i = cuda.grid(1)
        if i < d_shift.size:
            d_shift[i] = 0.0


@register("undivided")
class Undivided(Layer):
    """Channels are repeated up to a number that is not said to be divided."""

    attrs = {"units": integer("Channels of the output.", default=8, minimum=1)}

    def outputs(self, x):
        if self.attrs.units % x.shape[-1]:
            raise LayerError("the units are no multiple of the channels", attr="units")
        return Tensor((*x.shape[:-1], self.attrs.units))

    @forward("cpu", over="y", axes=0, writes="y")
    def forward_cpu(start, stop, x, y, units):
        given, out = x[start:stop].reshape(-1, x.shape[-1]), y[start:stop].reshape(-1, units)
        for n in range(out.shape[0]):
            for u in range(units):
                out[n, u] = given[n, u * given.shape[1] // units]

    @backward("cpu", over="d_x", axes=0, writes="d_x")
    def backward_cpu(start, stop, dy, d_x, units):
        own = d_x[start:stop].reshape(-1, d_x.shape[-1])
        given = dy[start:stop].reshape(-1, units)
        for n in range(own.shape[0]):
            own[n] = 0.0
            for u in range(units):
                own[n, u * own.shape[1] // units] += given[n, u]


@register("mixes")
class Mixes(Layer):
    """y = the sum of all channels in each of them, which is not said."""

    def outputs(self, x):
        return Tensor(x.shape)

    @forward("cpu", over="x", axes=0, writes="y")
    def forward_cpu(start, stop, x, y):
        rows, out = x[start:stop].reshape(-1, x.shape[-1]), y[start:stop].reshape(-1, x.shape[-1])
        for n in range(rows.shape[0]):
            out[n] = rows[n].sum()

    @backward("cpu", over="x", axes=0, writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        rows, out = dy[start:stop].reshape(-1, dy.shape[-1]), d_x[start:stop].reshape(-1, dy.shape[-1])
        for n in range(rows.shape[0]):
            out[n] = rows[n].sum()


@register("mixes_narrower")
class MixesNarrower(Copy):
    """A factor for each channel, which is not cut as the channels are."""

    def params(self, x):
        return {"weight": Param(x.shape[-1:], {"type": "constant", "value": 1.0}, axis=0)}


@register("channelwise_type")
class ChannelwiseType(Channelwise):
    """A scalar function that is given what is no number."""

    def params(self, x):
        return {"gain": Param(x.shape[-1:], {"type": "constant", "value": 1.0})}

    @per_element("forward", writes="y", channels=["gain"])
    def scaled(x, gain):
        return gain.value * x  # told

    @per_element("backward", writes="d_x", channels=["gain"])
    def d_x(dy, gain):
        return gain * dy

    @per_channel("backward", writes="d_gain")
    def d_gain(x, dy):
        return x * dy
