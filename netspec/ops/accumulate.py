"""A node of the tree in which what the replicas of a batch give is added: see netspec.planning.replica_tree."""

from netspec.contract.kernel import cuda, device, forward, load4, store4
from netspec.contract.naming import Argument
from netspec.ops.base import Operation


@device
def scaled_four(values, factor):
    """Four numbers times a factor."""
    return values[0] * factor, values[1] * factor, values[2] * factor, values[3] * factor


@device
def sum_of_four(left, right):
    """Four sums."""
    return left[0] + right[0], left[1] + right[1], left[2] + right[2], left[3] + right[3]


class Accumulate(Operation):
    """target = ((value * share[0] + subtree0) + subtree1) + ..., all float32 and of one shape.

    ``value`` is what one replica gave, ``share`` its part of the batch (left out: 1). Where there is no ``value`` it is
    what the target holds.
    """

    @staticmethod
    def bindings(args):
        """The value is kept or scaled, then a pass for each subtree, the smallest first."""
        own = Argument("value") if Argument("value") in args else Argument("target")
        subtrees = [one for one in args if one.tensor == "subtree"]
        first = "scale" if Argument("share") in args else "keep"
        if not subtrees:
            return [(first, {"value": own})]
        first = "add_scaled" if Argument("share") in args else "add"
        firsts = [(first, {"value": own, "subtree": subtrees[0]})]
        return firsts + [("add", {"value": Argument("target"), "subtree": one}) for one in subtrees[1:]]

    @forward("cpu", over="target", writes="target")
    def keep_cpu(start, stop, value, target):
        target[start:stop] = value[start:stop]

    @forward("cpu", over="target", writes="target")
    def scale_cpu(start, stop, value, share, target):
        a, out, factor = value[start:stop], target[start:stop], share[0]
        for i in range(a.size):  # from 0, so that it is vectorised
            out[i] = a[i] * factor

    @forward("cpu", over="target", writes="target")
    def add_scaled_cpu(start, stop, value, share, subtree, target):
        a, b, out, factor = value[start:stop], subtree[start:stop], target[start:stop], share[0]
        for i in range(a.size):
            out[i] = b[i] + a[i] * factor

    @forward("cpu", over="target", writes="target")
    def add_cpu(start, stop, value, subtree, target):
        a, b, out = value[start:stop], subtree[start:stop], target[start:stop]
        for i in range(a.size):
            out[i] = b[i] + a[i]

    @forward("cuda", over="target", writes="target", threads=256, per_thread=4)
    def keep_cuda(value, target):
        i = 4 * cuda.grid(1)
        if i + 4 <= target.size:
            a, b, c, d = load4(value, i)
            store4(target, i, a, b, c, d)
        else:
            for j in range(i, target.size):
                target[j] = value[j]

    @forward("cuda", over="target", writes="target", threads=256, per_thread=4)
    def scale_cuda(value, share, target):
        i = 4 * cuda.grid(1)
        if i + 4 <= target.size:
            a, b, c, d = scaled_four(load4(value, i), share[0])
            store4(target, i, a, b, c, d)
        else:
            for j in range(i, target.size):
                target[j] = value[j] * share[0]

    @forward("cuda", over="target", writes="target", threads=256, per_thread=4)
    def add_scaled_cuda(value, share, subtree, target):
        i = 4 * cuda.grid(1)
        if i + 4 <= target.size:
            a, b, c, d = sum_of_four(load4(subtree, i), scaled_four(load4(value, i), share[0]))
            store4(target, i, a, b, c, d)
        else:
            for j in range(i, target.size):
                target[j] = subtree[j] + value[j] * share[0]

    @forward("cuda", over="target", writes="target", threads=256, per_thread=4)
    def add_cuda(value, subtree, target):
        i = 4 * cuda.grid(1)
        if i + 4 <= target.size:
            a, b, c, d = sum_of_four(load4(subtree, i), load4(value, i))
            store4(target, i, a, b, c, d)
        else:
            for j in range(i, target.size):
                target[j] = subtree[j] + value[j]
