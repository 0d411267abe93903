"""Sums of gradients where a tensor has several readers; a tensor without any gets zeros."""

from netspec.contract.kernel import cuda, device, forward, load4, quotient, store4
from netspec.contract.naming import Argument
from netspec.ops.base import Operation


@device
def row_and_column(matrix):
    """A thread's element; a row beyond the last one where there is none."""
    i, columns = cuda.grid(1), matrix.shape[1]
    row = quotient(i, columns) if matrix.size < 2**31 else i // columns
    return row, i - row * columns


class Sum(Operation):
    """target = source0 + source1 + ..., matrices (rows, channels) that may be channel ranges of wider ones."""

    @staticmethod
    def bindings(args):
        """A pass for each source after the first, in the order of the sources."""
        sources = [one for one in args if one.tensor == "source"]
        if not sources:
            return [("zero", {})]
        lefts = [sources[0], *[Argument("target")] * (len(sources) - 2)]
        return [("add", {"left": a, "right": b}) for a, b in zip(lefts, sources[1:], strict=True)]

    @forward("cpu", over="target", axes=0, block=256, writes="target")
    def zero_cpu(start, stop, target):
        for i in range(start, stop):
            for c in range(target.shape[1]):
                target[i, c] = 0.0

    @forward("cpu", over="target", axes=0, block=256, writes="target")
    def add_cpu(start, stop, left, right, target):
        for i in range(start, stop):
            for c in range(target.shape[1]):
                target[i, c] = left[i, c] + right[i, c]

    @forward("cuda", over="target", axes=(0, 1), writes="target", threads=256)
    def zero_cuda(target):
        row, c = row_and_column(target)
        if row < target.shape[0]:
            target[row, c] = 0.0

    @forward("cuda", over="target", axes=(0, 1), writes="target", threads=256)
    def add_cuda(left, right, target):
        row, c = row_and_column(target)
        if row < target.shape[0]:
            target[row, c] = left[row, c] + right[row, c]

    @forward("cuda", over="target", axes=(0, 1), writes="target", threads=256, per_thread=4, variant="vector")
    def zero_vector_cuda(target):
        i, fours = cuda.grid(1), target.shape[1] // 4
        row = quotient(i, fours)
        if row < target.shape[0]:
            store4(target[row], 4 * (i - row * fours), 0.0, 0.0, 0.0, 0.0)

    @forward("cuda", over="target", axes=(0, 1), writes="target", threads=256, per_thread=4, variant="vector")
    def add_vector_cuda(left, right, target):
        i, fours = cuda.grid(1), target.shape[1] // 4
        row = quotient(i, fours)
        if row < target.shape[0]:
            c = 4 * (i - row * fours)
            a, b, sums = load4(left[row], c), load4(right[row], c), target[row]
            store4(sums, c, a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3])
