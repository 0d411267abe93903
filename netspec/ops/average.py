"""Exponential moving averages of parameters (Polyak and Juditsky 1992; the form of torch.optim.swa_utils)."""

from netspec.contract.kernel import cuda, device, forward, load4, store4
from netspec.contract.solver_kernels import agreed
from netspec.ops.base import Operation


@device
def nearer(average, param, share):
    """An average after it has taken its share of a parameter."""
    return average + share * (param - average)


class Average(Operation):
    """average = average + share[0] (param - average), unless some device's verdict is 0."""

    @staticmethod
    def bindings(args):
        """One pass."""
        return [("average", {})]

    @forward("cpu", over="average", writes="average")
    def average_cpu(start, stop, average, param, share, finite):
        if agreed(finite):
            a, w, part = average[start:stop], param[start:stop], share[0]
            for i in range(a.size):  # from 0, so that it is vectorised
                a[i] = nearer(a[i], w[i], part)

    @forward("cuda", over="average", writes="average", threads=256, per_thread=4)
    def average_cuda(average, param, share, finite):
        i = 4 * cuda.grid(1)
        if i + 4 <= average.size:
            a, w, part = load4(average, i), load4(param, i), share[0]
            if agreed(finite):
                first, second = nearer(a[0], w[0], part), nearer(a[1], w[1], part)
                store4(average, i, first, second, nearer(a[2], w[2], part), nearer(a[3], w[3], part))
        elif agreed(finite):
            for j in range(i, average.size):
                average[j] = nearer(average[j], param[j], share[0])
