"""A device's share of the squared norm of all gradients."""

from netspec.contract.kernel import cuda, forward
from netspec.contract.reduction import THREADS, by_block, in_order
from netspec.ops.base import Operation


class Total(Operation):
    """total[0] = the sum of partials, all in float64."""

    @staticmethod
    def bindings(args):
        """One pass."""
        return [("total", {})]

    @forward("cpu", over="total", writes="total")
    def total_cpu(start, stop, partials, total):
        total[0] = in_order(partials)

    @forward("cuda", over="total", writes="total", threads=THREADS)
    def total_cuda(partials, total):
        found = by_block(partials, cuda.shared.array(THREADS, partials.dtype))
        if cuda.threadIdx.x == 0:
            total[0] = found
