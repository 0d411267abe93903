"""A device's verdict on an iteration: whether all of its checks passed."""

from netspec.contract.kernel import cuda, forward
from netspec.ops.base import Operation


class Agree(Operation):
    """verdict[0] = the minimum of flags."""

    @staticmethod
    def bindings(args):
        """One pass."""
        return [("agree", {})]

    @forward("cpu", over="verdict", writes="verdict")
    def agree_cpu(start, stop, flags, verdict):
        low = 1
        for i in range(flags.size):
            low = min(low, flags[i])
        verdict[0] = low

    @forward("cuda", over="verdict", writes="verdict")
    def agree_cuda(flags, verdict):
        if cuda.grid(1) == 0:
            low = 1
            for i in range(flags.size):
                low = min(low, flags[i])
            verdict[0] = low
