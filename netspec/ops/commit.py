"""A layer's state takes its next value at the end of an iteration that all devices found finite."""

from netspec.contract.kernel import cuda, forward, load4, store4
from netspec.contract.solver_kernels import agreed
from netspec.ops.base import Operation


class Commit(Operation):
    """state = next, unless some device's verdict is 0."""

    @staticmethod
    def bindings(args):
        """One pass."""
        return [("commit", {})]

    @forward("cpu", over="state", writes="state")
    def commit_cpu(start, stop, state, following, finite):
        if agreed(finite):
            state[start:stop] = following[start:stop]

    @forward("cuda", over="state", writes="state", threads=256, per_thread=4)
    def commit_cuda(state, following, finite):
        i = 4 * cuda.grid(1)
        if i + 4 <= state.size:
            a, b, c, d = load4(following, i)
            if agreed(finite):
                store4(state, i, a, b, c, d)
        elif agreed(finite):
            for j in range(i, state.size):
                state[j] = following[j]
