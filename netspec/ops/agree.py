"""A device's verdict on an iteration: whether all of its checks passed; and the flags of its updates cleared."""

from netspec.contract.kernel import cuda, forward
from netspec.ops.base import Operation


class Agree(Operation):
    """verdict[0] = the minimum of flags; overflow = 0, which updates raise, see netspec.contract.solver."""

    @staticmethod
    def bindings(args):
        """One pass."""
        return [("agree", {})]

    @forward("cpu", over="verdict", writes=("verdict", "overflow"))
    def agree_cpu(start, stop, flags, verdict, overflow):
        low = 1
        for i in range(flags.size):
            low = min(low, flags[i])
        verdict[0] = low
        overflow[:] = 0

    @forward("cuda", over="verdict", writes=("verdict", "overflow"))
    def agree_cuda(flags, verdict, overflow):
        if cuda.grid(1) == 0:
            low = 1
            for i in range(flags.size):
                low = min(low, flags[i])
            verdict[0] = low
            for i in range(overflow.size):
                overflow[i] = 0
