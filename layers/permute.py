"""The axes of a tensor in another order."""

from typing import NamedTuple

from netspec.layers._batch_chunks import block_of_images
from netspec.plugin import Layer, LayerError, Tensor, cuda, device, forward, integers, register

THREADS, MOST = 256, 4
"""Threads of a block; axes behind the batch."""


class Axes(NamedTuple):
    """Sizes of a tensor's last four axes without its batch, and how far apart neighbours along them lie in another one.

    Where there are fewer, the first are of size 1. Kernels take it as one argument.
    """

    a: int
    b: int
    c: int
    d: int
    apart_a: int
    apart_b: int
    apart_c: int
    apart_d: int


def axes_of(sizes, order):
    """Those of a tensor whose axes are axes ``order`` of one of these sizes, counted from 0."""
    apart = [1] * len(sizes)
    for axis in range(len(sizes) - 2, -1, -1):
        apart[axis] = apart[axis + 1] * sizes[axis + 1]
    lead = MOST - len(sizes)
    return Axes(*[1] * lead, *(sizes[i] for i in order), *[0] * lead, *(apart[i] for i in order))


@device
def place_of(i, axes):
    """Where element i of one tensor lies in the other."""
    rest, d = i // axes.d, i % axes.d
    rest, c = rest // axes.c, rest % axes.c
    rest, b = rest // axes.b, rest % axes.b
    n, a = rest // axes.a, rest % axes.a
    first = n * axes.a * axes.b * axes.c * axes.d
    return first + a * axes.apart_a + b * axes.apart_b + c * axes.apart_c + d * axes.apart_d


@register("permute")
class Permute(Layer):
    """Axis k of y is axis order[k - 1] of x; the batch, axis 0, stays where it is.

    Of images (N, H, W, C) ``order: [2, 1, 3]`` exchanges height and width, ``order: [3, 1, 2]`` puts channels first.
    PyTorch's permute.
    """

    attrs = {"order": integers("Axes of x, counted with the batch as 0: those of y behind the batch.", minimum=1)}
    whole_only = "axes are exchanged where the whole tensor lies: say connect: all, and one device"
    backward_as = "itself"
    examples = (
        {"attrs": {"order": [3, 1, 2]}, "inputs": [(2, 3, 4, 5)]},
        {"attrs": {"order": [2, 1]}, "inputs": [(3, 4, 6)]},
        {"attrs": {"order": [2, 4, 1, 3]}, "inputs": [(2, 3, 2, 4, 5)]},
        {"attrs": {"order": [1]}, "inputs": [(3, 6)]},
    )

    def outputs(self, x):
        order = self.attrs.order
        if len(x.shape) > MOST + 1:
            raise LayerError(f"tensors of up to {MOST} axes behind the batch have another order, got {x.shape}")
        if sorted(order) != list(range(1, len(x.shape))):
            wanted = ", ".join(map(str, range(1, len(x.shape))))
            told = f"order is {list(order)} for an input of shape {x.shape}"
            raise LayerError(told, f"name each of {wanted}", "order")
        return Tensor((x.shape[0], *(x.shape[i] for i in order)), x.dtype)

    def other_attrs(self):
        """Each axis back to where it was."""
        return {"order": [1 + self.attrs.order.index(axis) for axis in range(1, len(self.attrs.order) + 1)]}

    def onnx(self, nodes, t, x):
        """Transpose, of channels last."""
        moved = nodes.add("Transpose", nodes.channels_last(x, t.x), perm=[0, *self.attrs.order])
        return nodes.channels_first(moved, t.y)

    def torch(self, code, t, x):
        """Tensor.permute, of channels last."""
        order = ", ".join(map(str, (0, *self.attrs.order)))
        return code.channels_first(f"{code.channels_last(x, t.x)}.permute({order})", t.y)

    def scalars(self, t, index=None):
        return {"axes": axes_of(t.x.shape[1:], [i - 1 for i in self.attrs.order])}

    @forward("cpu", over="y", axes=0, block=block_of_images, writes="y")
    def permute_cpu(start, stop, x, y, axes: Axes):
        source, target = x.reshape(x.size), y.reshape(y.size)
        size = axes.a * axes.b * axes.c * axes.d
        for n in range(start, stop):
            i = n * size
            for a in range(axes.a):
                for b in range(axes.b):
                    for c in range(axes.c):
                        first = n * size + a * axes.apart_a + b * axes.apart_b + c * axes.apart_c
                        for d in range(axes.d):
                            target[i + d] = source[first + d * axes.apart_d]
                        i += axes.d

    @forward("cuda", over="y", threads=THREADS, writes="y", linear=True)
    def permute_cuda(x, y, axes: Axes):
        i = cuda.grid(1)
        if i < y.size:
            y[i] = x[place_of(i, axes)]
