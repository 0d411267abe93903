"""Whether every element of a gradient, or of a cost layer's report, is a finite number."""

from netspec.contract.kernel import Lazy, cuda, device, forward, load4, store_relaxed
from netspec.contract.solver_kernels import is_finite
from netspec.ops.base import Operation

np = Lazy("numpy")

_EXPONENT = 0x7F800000
"""Bits of a float32's exponent: all are set in infinities and NaN alone."""
_THREADS = 128


@device
def are_finite(values):
    """Whether four numbers are finite."""
    return is_finite(values[0]) & is_finite(values[1]) & is_finite(values[2]) & is_finite(values[3])


class Finite(Operation):
    """flag[0] = 1 where all of source (float32) is finite, else 0. All who clear the flag write the same."""

    @staticmethod
    def bindings(args):
        """The flag is raised, then lowered by whoever finds a bad element."""
        return [("raise", {}), ("check", {})]

    @forward("cpu", over="flag", writes="flag")
    def raise_cpu(start, stop, flag):
        flag[0] = 1

    @forward("cpu", over="source", writes="flag")
    def check_cpu(start, stop, source, flag):
        bits = source[start:stop].view(np.int32)
        bad = 0
        for i in range(bits.size):
            bad |= (bits[i] & _EXPONENT) == _EXPONENT
        if bad:
            flag[0] = 0

    @forward("cuda", over="flag", writes="flag")
    def raise_cuda(flag):
        if cuda.grid(1) == 0:
            flag[0] = 1

    @forward("cuda", over="source", writes="flag", threads=_THREADS, per_thread=16)
    def check_cuda(source, flag):
        start, good = 16 * _THREADS * cuda.blockIdx.x, True
        if start + 16 * _THREADS <= source.size:
            i = start + 4 * cuda.threadIdx.x
            a, b = load4(source, i), load4(source, i + 4 * _THREADS)
            c, d = load4(source, i + 8 * _THREADS), load4(source, i + 12 * _THREADS)
            good = are_finite(a) & are_finite(b) & are_finite(c) & are_finite(d)
        else:
            for i in range(start + cuda.threadIdx.x, source.size, _THREADS):
                good = good and is_finite(source[i])
        if not good:
            store_relaxed(flag, 0, 0)
