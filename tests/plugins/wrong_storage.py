"""Layers whose kernels are wrong where activations are stored as bfloat16; see tests/check/test_mistakes.py.

A message must name the lines that end with the comment "told".
"""

from right_copy import Copy, CopyOnBoth

from netspec.plugin import backward, cp_async4, cp_async_commit, cp_async_wait, cuda, forward, register

TILE, SHARES = 128, 256


@register("cuda_narrow_sums")
class NarrowSums(CopyOnBoth):
    """A sum is kept in the output, where it is rounded each time."""

    @backward("cuda", over="x", writes="d_x")
    def backward_cuda(dy, d_x):  # told
        i = cuda.grid(1)
        if i < d_x.size:
            d_x[i] = 0.0
            for _ in range(SHARES):
                d_x[i] += dy[i] / 256.0


@register("cuda_narrow_copies")
class NarrowCopies(CopyOnBoth):
    """Elements are taken to have four bytes."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        tile = cuda.shared.array(TILE, "float32")
        i = cuda.grid(1)
        cp_async4(tile, cuda.threadIdx.x, x, min(i, x.size - 1), 1)  # told
        cp_async_commit()
        cp_async_wait(0)
        if i < x.size:
            y[i] = tile[cuda.threadIdx.x]


@register("wrong_narrow_sums")
class NarrowSumsOnCpus(Copy):
    """As cuda_narrow_sums."""

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        for i in range(start, stop):
            d_x[i] = 0.0
            for _ in range(SHARES):
                d_x[i] += dy[i] / 256.0
