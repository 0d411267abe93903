"""Layers whose CUDA kernels reach what they must not, or meet where they do not; see tests/check/test_mistakes.py.

A message must name the lines that end with the comment "told".
"""

from right_copy import CopyOnBoth

from netspec.plugin import (
    Workspace,
    backward,
    cuda,
    device,
    forward,
    load4,
    register,
    shuffle_down,
)

TILE, TWICE = 128, 256


@register("cuda_race")
class Race(CopyOnBoth):
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
class RaceInHelper(CopyOnBoth):
    """The same, where a helper reads; the array has two axes."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        tile = cuda.shared.array((2, TILE), "float32")
        t, i = cuda.threadIdx.x, cuda.grid(1)
        tile[0, t] = x[i] if i < x.size else 0.0  # told
        if i < x.size:
            y[i] = x[i] + 0.0 * neighbour(tile, t)  # told


@register("cuda_race_in_block")
class RaceInBlock(CopyOnBoth):
    """Every thread writes the first element."""

    @backward("cuda", over="x", writes="d_x")
    def backward_cuda(dy, d_x):
        i = cuda.grid(1)
        if i < d_x.size:
            d_x[i] = dy[i]  # told
            d_x[0] = dy[0]  # told


@register("cuda_race_over_blocks")
class RaceOverBlocks(CopyOnBoth):
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
class DivergentBarrier(CopyOnBoth):
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
class TwoBarriers(CopyOnBoth):
    """Odd and even threads wait at barriers of their own, and the even ones once more."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        t, i = cuda.threadIdx.x, cuda.grid(1)
        if t % 2 == 0:
            cuda.syncthreads()  # told
        if i < x.size:
            y[i] = x[i]


@register("cuda_reads_outside")
class ReadsOutside(CopyOnBoth):
    """The neighbour of the last element."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = x[i] + 0.0 * x[i + 1]  # told


@register("cuda_writes_outside")
class WritesOutside(CopyOnBoth):
    """No check whether a thread has an element."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i <= x.size:
            y[i] = 1.0 if i == x.size else x[i]  # told


@register("cuda_writes_outside_axes")
class WritesOutsideAxes(CopyOnBoth):
    """A row too many, in an array of two axes."""

    examples = ({"attrs": {}, "inputs": [(5, 4)]},)

    @forward("cuda", over="x", axes=0, writes="y")
    def forward_cuda(x, y):
        n = cuda.grid(1)
        if n <= x.shape[0]:
            for c in range(x.shape[1]):
                y[n, c] = 1.0 if n == x.shape[0] else x[n, c]  # told


@register("cuda_shared_outside")
class SharedOutside(CopyOnBoth):
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
class SharedUnset(CopyOnBoth):
    """A shared array of which half is written."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        tile = cuda.shared.array(TWICE, "float32")
        t, i = cuda.threadIdx.x, cuda.grid(1)
        tile[t] = x[i] if i < x.size else 0.0
        cuda.syncthreads()
        if i < x.size:
            y[i] = tile[t] + 0.0 * tile[t + TILE]  # told


@register("cuda_shared_next")
class SharedNext(CopyOnBoth):
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
class ReadsOutput(CopyOnBoth):
    """The gradient is added to, not overwritten."""

    @backward("cuda", over="x", writes="d_x")
    def backward_cuda(dy, d_x):
        i = cuda.grid(1)
        if i < d_x.size:
            d_x[i] += dy[i]  # told


@register("cuda_workspace_unset")
class WorkspaceUnset(CopyOnBoth):
    """Scratch memory is taken for zeros."""

    def workspace(self, t, variant, direction):
        return {"scratch": Workspace(t.x.shape)} if direction == "forward" else {}

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y, scratch):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = x[i] + scratch[i]  # told


@register("cuda_misaligned")
class Misaligned(CopyOnBoth):
    """Four neighbours from an index that is no multiple of four."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i + 3 < x.size:
            a, _, _, _ = load4(x, i)  # told
            y[i] = a
        elif i < x.size:
            y[i] = x[i]


@register("cuda_shuffle")
class PartialShuffle(CopyOnBoth):
    """Lanes read from lanes that are not there."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = x[i] + 0.0 * shuffle_down(x[i], 16)  # told
