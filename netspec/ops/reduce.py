"""A node of the tree over processes whose gradients all see: see netspec.runners.execution.shared_gradients."""

from netspec.contract.kernel import forward
from netspec.contract.naming import Argument
from netspec.contract.solver_kernels import is_finite
from netspec.ops.base import Operation


class Reduce(Operation):
    """target = target own_share[0] + value share[0], all float32 and of one shape; without shares target + value.

    flag[0] = 0 where that is not finite. Processes on CPUs alone see each other's memory, so there is no CUDA kernel.
    """

    @staticmethod
    def bindings(args):
        """One pass."""
        return [("add_scaled" if Argument("share") in args else "add", {})]

    @forward("cpu", over="target", writes=("target", "flag"))
    def add_cpu(start, stop, value, target, flag):
        a, out, good = value[start:stop], target[start:stop], True
        for i in range(a.size):  # from 0, so that it is vectorised
            total = out[i] + a[i]
            out[i] = total
            good &= is_finite(total)
        if not good:
            flag[0] = 0

    @forward("cpu", over="target", writes=("target", "flag"))
    def add_scaled_cpu(start, stop, value, share, target, own_share, flag):
        a, out, factor, own, good = value[start:stop], target[start:stop], share[0], own_share[0], True
        for i in range(a.size):
            total = out[i] * own + a[i] * factor
            out[i] = total
            good &= is_finite(total)
        if not good:
            flag[0] = 0
