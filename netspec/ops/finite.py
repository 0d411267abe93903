"""Whether every element of a gradient, or of a cost layer's report, is a finite number."""

from netspec.contract.kernel import Lazy, cuda, forward
from netspec.ops.base import Operation

np = Lazy("numpy")

_EXPONENT = 0x7F800000
"""Bits of a float32's exponent: all are set in infinities and NaN alone."""


class Finite(Operation):
    """flag[0] = 1 where all of source (float32) is finite, else 0. Members that clear the flag all write the same."""

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

    @forward("cuda", over="source", writes="flag", threads=256)
    def check_cuda(source, flag):
        i = cuda.grid(1)
        if i < source.size and not (abs(source[i]) <= 3.4028234663852886e38):
            flag[0] = 0
