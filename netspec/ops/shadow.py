"""A parameter's shadow: its values in the narrower dtype that products read, see netspec.planning.shadows."""

from netspec.contract.kernel import cuda, forward, load4, store4
from netspec.ops.base import Operation


class Shadow(Operation):
    """target = source, rounded to the nearest value of the target's dtype, ties to even."""

    @staticmethod
    def bindings(args):
        """One pass."""
        return [("round", {})]

    @forward("cpu", over="target", writes="target")
    def round_cpu(start, stop, source, target):
        for i in range(start, stop):
            target[i] = source[i]

    @forward("cuda", over="target", writes="target", threads=256, per_thread=4)
    def round_cuda(source, target):
        i = 4 * cuda.grid(1)
        if i + 4 <= target.size:
            a, b, c, d = load4(source, i)
            store4(target, i, a, b, c, d)
        else:
            for j in range(i, target.size):
                target[j] = source[j]
