"""Clipping by the norm of all gradients together (Pascanu, Mikolov and Bengio 2013; as clip_grad_norm_ in PyTorch)."""

from math import sqrt

from netspec.contract.kernel import Lazy, cuda, device, forward
from netspec.contract.reduction import in_order
from netspec.ops.base import Operation

np = Lazy("numpy")


@device
def at_most(norms, limit):
    """The factor that brings the norm down to the limit: 1 where it is below, NaN where it is."""
    norm = np.float32(sqrt(in_order(norms)))
    return 1.0 if norm <= limit else limit / norm


class Clip(Operation):
    """factor[0] = min(1, limit / norm), where norms has the devices' sums of squares, in the same order on each."""

    @staticmethod
    def bindings(args):
        """One pass."""
        return [("clip", {})]

    @forward("cpu", over="factor", writes="factor")
    def clip_cpu(start, stop, norms, factor, limit):
        factor[0] = at_most(norms, limit)

    @forward("cuda", over="factor", writes="factor")
    def clip_cuda(norms, factor, limit):
        if cuda.grid(1) == 0:
            factor[0] = at_most(norms, limit)
