"""Sums of squares in parts, of which norms are made; of a gradient they tell in the same pass whether it is finite."""

from netspec.contract.kernel import Lazy, cuda, device, forward, load4, store_relaxed
from netspec.contract.naming import Argument
from netspec.contract.reduction import CHUNK, THREADS, over_block
from netspec.ops.base import Operation

np = Lazy("numpy")


@device
def of_four(values):
    """The squares of four numbers in float64."""
    a, b, c, d = np.float64(values[0]), np.float64(values[1]), np.float64(values[2]), np.float64(values[3])
    return a * a + b * b + (c * c + d * d)


@device
def in_chunks(start, stop, source, partials):
    """Sum the squares of a range in chunks; whether all are finite."""
    good = True
    for first in range(start, stop, CHUNK):
        values, total = source[first : min(first + CHUNK, stop)], np.float64(0)
        for i in range(values.size):
            value = np.float64(values[i])
            total += value * value
        partials[first // CHUNK] = total
        good &= total - total == 0  # which neither an infinity nor NaN gives
    return good


@device
def of_block(source, partials):
    """Sum the squares of a block's chunk; whether they are finite."""
    first, thread = CHUNK * cuda.blockIdx.x, cuda.threadIdx.x
    sums, total = cuda.shared.array(THREADS, partials.dtype), np.float64(0)
    if first + CHUNK <= source.size:
        i = first + 4 * thread
        a, b = load4(source, i), load4(source, i + 4 * THREADS)
        c, d = load4(source, i + 8 * THREADS), load4(source, i + 12 * THREADS)
        total = of_four(a) + of_four(b) + (of_four(c) + of_four(d))
    else:
        for i in range(first + thread, source.size, THREADS):
            value = np.float64(source[i])
            total += value * value
    total = over_block(total, sums)
    if thread == 0:
        partials[cuda.blockIdx.x] = total
    return total - total == 0


class Squares(Operation):
    """partials[k] = the sum of the squares of source (float32) in its k-th 4,096 elements, in float64.

    Where there is a flag, flag[0] = 1 if all of source is finite, else 0.
    """

    @staticmethod
    def bindings(args):
        """The flag is raised, then lowered by whoever finds a bad chunk."""
        return [("raise", {}), ("judge", {})] if Argument("flag") in args else [("add", {})]

    @forward("cpu", over="flag", writes="flag")
    def raise_cpu(start, stop, flag):
        flag[0] = 1

    @forward("cpu", over="source", writes=("partials", "flag"))
    def judge_cpu(start, stop, source, partials, flag):
        if not in_chunks(start, stop, source, partials):
            flag[0] = 0

    @forward("cpu", over="source", writes="partials")
    def add_cpu(start, stop, source, partials):
        in_chunks(start, stop, source, partials)

    @forward("cuda", over="flag", writes="flag")
    def raise_cuda(flag):
        if cuda.grid(1) == 0:
            flag[0] = 1

    @forward("cuda", over="source", writes=("partials", "flag"), threads=THREADS, per_thread=CHUNK // THREADS)
    def judge_cuda(source, partials, flag):
        if not of_block(source, partials):
            store_relaxed(flag, 0, 0)

    @forward("cuda", over="source", writes="partials", threads=THREADS, per_thread=CHUNK // THREADS)
    def add_cuda(source, partials):
        of_block(source, partials)
