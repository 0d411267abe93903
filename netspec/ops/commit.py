"""A layer's state takes its next value at the end of an iteration that all devices found finite."""

from netspec.contract.kernel import cuda, forward
from netspec.ops.base import Operation


class Commit(Operation):
    """state = next, unless some device's verdict is 0."""

    @staticmethod
    def bindings(args):
        """One pass."""
        return [("commit", {})]

    @forward("cpu", over="state", writes="state")
    def commit_cpu(start, stop, state, following, finite):
        for device in range(finite.size):
            if finite[device] == 0:
                return
        state[start:stop] = following[start:stop]

    @forward("cuda", over="state", writes="state", threads=256)
    def commit_cuda(state, following, finite):
        i = cuda.grid(1)
        if i >= state.size:
            return
        for device in range(finite.size):
            if finite[device] == 0:
                return
        state[i] = following[i]
