"""A device's verdict: whether all of its checks passed, in the iterations before too; its updates' flags cleared."""

from netspec.contract.kernel import cuda, forward
from netspec.ops.base import Operation


class Agree(Operation):
    """verdict[0] = the minimum of itself and of flags; overflow = 0, which updates raise, see netspec.contract.solver.

    An iteration may have been enqueued before the host knows that the one before it was not finite: it changes nothing
    either. Whoever goes on after that sets verdicts to 1 again, as they are at first.
    """

    @staticmethod
    def bindings(args):
        """One pass."""
        return [("agree", {})]

    @forward("cpu", over="verdict", writes=("verdict", "overflow"))
    def agree_cpu(start, stop, flags, verdict, overflow):
        low = verdict[0]
        for i in range(flags.size):
            low = min(low, flags[i])
        verdict[0] = low
        overflow[:] = 0

    @forward("cuda", over="verdict", writes=("verdict", "overflow"))
    def agree_cuda(flags, verdict, overflow):
        if cuda.grid(1) == 0:
            low = verdict[0]
            for i in range(flags.size):
                low = min(low, flags[i])
            verdict[0] = low
            for i in range(overflow.size):
                overflow[i] = 0
