"""Layers whose CUDA kernels reduce wrongly; see tests/check/test_mistakes.py.

A message must name the lines that end with the comment "told".
"""

from netspec.plugin import Layer, Tensor, backward, cuda, device, forward, register

THREADS = 128


def rows(t):
    """A block of threads for each row."""
    return (t.y.size // t.y.shape[-1],)


class Centred(Layer):
    """y = x - mean of the row, rightly on CPUs."""

    whole_only = "place it on one device"
    examples = ({"attrs": {}, "inputs": [(3, 2, 5)]}, {"attrs": {}, "inputs": [(3, 300)]})

    def outputs(self, x):
        return Tensor(x.shape, x.dtype)

    def scalars(self, t, index=None):
        return {"depth": t.x.shape[-1], "share": 1.0 / t.x.shape[-1]}

    @forward("cpu", over="y", axes=0, writes="y")
    def forward_cpu(start, stop, x, y, depth):
        values, out = x.reshape(x.shape[0], -1), y.reshape(x.shape[0], -1)
        for n in range(start, stop):
            for first in range(0, values.shape[1], depth):
                total = 0.0
                for c in range(first, first + depth):
                    total += values[n, c]
                for c in range(first, first + depth):
                    out[n, c] = values[n, c] - total / depth

    @backward("cpu", over="d_x", axes=0, writes="d_x")
    def backward_cpu(start, stop, dy, d_x, depth):
        slopes, out = dy.reshape(dy.shape[0], -1), d_x.reshape(dy.shape[0], -1)
        for n in range(start, stop):
            for first in range(0, slopes.shape[1], depth):
                total = 0.0
                for c in range(first, first + depth):
                    total += slopes[n, c]
                for c in range(first, first + depth):
                    out[n, c] = slopes[n, c] - total / depth

    @backward("cuda", over="d_x", grid=rows, threads=THREADS, linear=True, writes="d_x")
    def backward_cuda(dy, d_x, depth, share):
        first = cuda.blockIdx.x * depth
        total = dy.dtype.type(0)
        for c in range(first, first + depth):
            total += dy[c]
        for c in range(first + cuda.threadIdx.x, first + depth, THREADS):
            d_x[c] = dy[c] - total * share


@device
def unsynchronised(value, sums):
    """The rounds of the tree have no barrier between them."""
    thread, half = cuda.threadIdx.x, THREADS // 2
    sums[thread] = value
    cuda.syncthreads()
    while half > 0:
        if thread < half:
            sums[thread] += sums[thread + half]  # told in reduce_no_barrier
        half //= 2
    cuda.syncthreads()
    return sums[0]


@device
def block_sum(value, sums):
    """The sum of the numbers that the threads of a block have, rightly."""
    thread, half = cuda.threadIdx.x, THREADS // 2
    sums[thread] = value
    cuda.syncthreads()
    while half > 0:
        if thread < half:
            sums[thread] += sums[thread + half]
        cuda.syncthreads()
        half //= 2
    return sums[0]


@device
def own_sum(x, first, depth):
    """What a thread sums up of a row."""
    total = x.dtype.type(0)
    for c in range(first + cuda.threadIdx.x, first + depth, THREADS):
        total += x[c]
    return total


@register("reduce_no_barrier")
class NoBarrier(Centred):
    """See unsynchronised."""

    @forward("cuda", over="y", grid=rows, threads=THREADS, linear=True, writes="y")
    def forward_cuda(x, y, depth, share):
        sums = cuda.shared.array(THREADS, x.dtype)
        first = cuda.blockIdx.x * depth
        mean = unsynchronised(own_sum(x, first, depth), sums) * share
        for c in range(first + cuda.threadIdx.x, first + depth, THREADS):
            y[c] = x[c] - mean


@register("reduce_twice")
class Twice(Centred):
    """The second sum begins where some threads have yet to read the first."""

    @forward("cuda", over="y", grid=rows, threads=THREADS, linear=True, writes="y")
    def forward_cuda(x, y, depth, share):
        sums = cuda.shared.array(THREADS, x.dtype)
        first = cuda.blockIdx.x * depth
        mean = block_sum(own_sum(x, first, depth), sums) * share
        rest = block_sum(own_sum(x, first, depth) - mean, sums)  # told
        for c in range(first + cuda.threadIdx.x, first + depth, THREADS):
            y[c] = x[c] - mean + 0 * rest


@register("reduce_first_threads")
class FirstThreads(Centred):
    """Rows longer than a block has threads are not summed to their end."""

    @forward("cuda", over="y", grid=rows, threads=THREADS, linear=True, writes="y")
    def forward_cuda(x, y, depth, share):  # told
        sums = cuda.shared.array(THREADS, x.dtype)
        first, thread = cuda.blockIdx.x * depth, cuda.threadIdx.x
        value = x[first + thread] if thread < depth else x.dtype.type(0)
        mean = block_sum(value, sums) * share
        for c in range(first + thread, first + depth, THREADS):
            y[c] = x[c] - mean


@register("reduce_odd_tree")
class OddTree(Centred):
    """A tree over 96 threads loses the third of three."""

    @forward("cuda", over="y", grid=rows, threads=96, linear=True, writes="y")
    def forward_cuda(x, y, depth, share):  # told
        sums = cuda.shared.array(96, x.dtype)
        first, thread, half = cuda.blockIdx.x * depth, cuda.threadIdx.x, 48
        total = x.dtype.type(0)
        for c in range(first + thread, first + depth, 96):
            total += x[c]
        sums[thread] = total
        cuda.syncthreads()
        while half > 0:
            if thread < half:
                sums[thread] += sums[thread + half]
            cuda.syncthreads()
            half //= 2
        for c in range(first + thread, first + depth, 96):
            y[c] = x[c] - sums[0] * share


@register("reduce_early_return")
class EarlyReturn(Centred):
    """Threads without an element do not come to the barriers."""

    @forward("cuda", over="y", grid=rows, threads=THREADS, linear=True, writes="y")
    def forward_cuda(x, y, depth, share):
        sums = cuda.shared.array(THREADS, x.dtype)
        first, thread = cuda.blockIdx.x * depth, cuda.threadIdx.x
        if thread >= depth:
            return
        mean = block_sum(own_sum(x, first, depth), sums) * share  # told
        for c in range(first + thread, first + depth, THREADS):
            y[c] = x[c] - mean


@register("reduce_images")
class Images(Centred):
    """A block for each image, where each pixel is a row."""

    @forward("cuda", over="y", grid=lambda t: (t.y.shape[0],), threads=THREADS, linear=True, writes="y")
    def forward_cuda(x, y, depth, share):  # told
        sums = cuda.shared.array(THREADS, x.dtype)
        first = cuda.blockIdx.x * depth
        mean = block_sum(own_sum(x, first, depth), sums) * share
        for c in range(first + cuda.threadIdx.x, first + depth, THREADS):
            y[c] = x[c] - mean


@register("reduce_whole_blocks")
class WholeBlocks(Centred):
    """Elements of a last block that is not full are left out."""

    @forward("cuda", over="y", writes="y")
    def forward_cuda(x, y, depth, share):  # told
        i = cuda.grid(1)
        if i < x.size // THREADS * THREADS or x.size < THREADS:
            if i < x.size:
                total = x.dtype.type(0)
                for c in range(i // depth * depth, (i // depth + 1) * depth):
                    total += x[c]
                y[i] = x[i] - total * share


@register("reduce_whole_number")
class WholeNumber(Centred):
    """The mean divides by a whole number."""

    @forward("cuda", over="y", writes="y")
    def forward_cuda(x, y, depth):
        i = cuda.grid(1)
        if i < x.size:
            total = x.dtype.type(0)
            for c in range(i // depth * depth, (i // depth + 1) * depth):
                total += x[c]
            y[i] = x[i] - total / depth  # told


@register("reduce_added_one")
class AddedOne(Centred):
    """A whole number that is added makes a sum double precision."""

    @forward("cuda", over="y", writes="y")
    def forward_cuda(x, y, depth, share):
        i = cuda.grid(1)
        if i < x.size:
            total = x.dtype.type(0)
            for c in range(i // depth * depth, (i // depth + 1) * depth):
                total += x[c]
            y[i] = (1 + x[i]) - (1 + total * share)  # told
