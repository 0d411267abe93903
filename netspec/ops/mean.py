"""Means over devices of what each of them found for its own rows of a batch: running statistics."""

from netspec.contract.kernel import cuda, forward
from netspec.contract.naming import Argument
from netspec.ops.base import Operation


class Mean(Operation):
    """target = (source0 + source1 + ...) * share, all float32 and of one shape; share is 1 over their number."""

    @staticmethod
    def bindings(args):
        """A pass for each source after the first, in the order of the sources, and one that divides."""
        sources = [one for one in args if one.tensor == "source"]
        lefts = [sources[0], *[Argument("target")] * (len(sources) - 2)]
        adds = [("add", {"left": a, "right": b}) for a, b in zip(lefts, sources[1:], strict=True)]
        return [*adds, ("divide", {})]

    @forward("cpu", over="target", writes="target")
    def add_cpu(start, stop, left, right, target):
        a, b, out = left[start:stop], right[start:stop], target[start:stop]
        for i in range(out.size):
            out[i] = a[i] + b[i]

    @forward("cpu", over="target", writes="target")
    def divide_cpu(start, stop, target, share):
        out = target[start:stop]
        for i in range(out.size):
            out[i] *= share

    @forward("cuda", over="target", writes="target", threads=256)
    def add_cuda(left, right, target):
        i = cuda.grid(1)
        if i < target.size:
            target[i] = left[i] + right[i]

    @forward("cuda", over="target", writes="target", threads=256)
    def divide_cuda(target, share):
        i = cuda.grid(1)
        if i < target.size:
            target[i] *= share
