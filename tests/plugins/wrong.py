"""Layers that each break the contract in one way; tests/check/test_suite.py says which check must find it."""

import math

from right_copy import Copy

from netspec.plugin import (
    Elementwise,
    Layer,
    Param,
    Tensor,
    Workspace,
    backward,
    cuda,
    forward,
    integer,
    register,
)


@register("wrong_docs")
class Undocumented(Copy):
    pass


@register("wrong_default")
class BadDefault(Copy):
    """The default lies below the minimum."""

    attrs = {"size": integer("A size.", default=0, minimum=1)}


@register("wrong_untyped")
class Untyped(Copy):
    """The attribute takes anything."""

    attrs = {"size": {"default": 1, "description": "A size."}}


@register("wrong_shape")
class NoBatch(Copy):
    """The output has lost its batch."""

    def outputs(self, x):
        return Tensor(x.shape[1:])


@register("wrong_error")
class IndexErrors(Copy):
    """The shape rule fails in Python's words on inputs of few axes."""

    examples = ({"attrs": {}, "inputs": [(2, 2, 2, 2)]},)

    def outputs(self, x):
        return Tensor((x.shape[0], x.shape[1], x.shape[2], x.shape[3]))


@register("wrong_forgets")
class Forgets(Copy):
    """The last element of each block is left out."""

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop - 1):
            y[i] = x[i]


@register("wrong_forgets_gradient")
class ForgetsGradient(Copy):
    """Nothing is passed on where the gradient is negative."""

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        for i in range(start, stop):
            if dy[i] > 0:
                d_x[i] = dy[i]


@register("wrong_scratch")
class ReadsScratch(Copy):
    """The scratch memory is read before anything is written to it."""

    def workspace(self, t, variant, direction):
        return {"scratch": Workspace(t.x.shape)} if direction == "forward" else {}

    @forward("cpu", over="x", writes=("y", "scratch"))
    def forward_cpu(start, stop, x, y, scratch):
        for i in range(start, stop):
            y[i] = x[i] if scratch[i] != 1234.5 else 0.0
            scratch[i] = y[i]


@register("wrong_input")
class WritesInput(Copy):
    """The input is spoilt."""

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = x[i]
            x[i] = 0.0


@register("wrong_bounds")
class WritesOutside(Copy):
    """One element too many is written."""

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop + 1):
            y[i] = x[i]


@register("wrong_gradient")
class WrongGradient(Elementwise):
    """y = x ** 2 with half its gradient."""

    def forward(x):
        return x * x

    def backward(x, dy):
        return dy * x


@register("wrong_no_gradient")
class NoGradient(Copy):
    """The parameter gets no gradient."""

    def params(self, x):
        return {"scale": Param((x.shape[-1],), {"type": "constant", "value": 1.0})}


@register("wrong_in_place")
class NotInPlace(Layer):
    """Declared to run in place, but backward reads the input."""

    inplace = True

    def outputs(self, x):
        return Tensor(x.shape)

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = x[i] * x[i]

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, x, dy, d_x):
        for i in range(start, stop):
            d_x[i] = 2.0 * x[i] * dy[i]


@register("wrong_neighbour")
class NeighbourInPlace(Copy):
    """Declared to run in place, but forward reads an element that is already overwritten."""

    inplace = True

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = x[i] + (x[i - 1] if i > 0 else 0.0)

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        for i in range(start, stop):
            d_x[i] = dy[i] + (dy[i + 1] if i + 1 < dy.size else 0.0)


@register("wrong_team")
class CountsBlocks(Copy):
    """A sum is carried from block to block in a member's scratch memory."""

    def workspace(self, t, variant, direction):
        return {"carry": Workspace((1,), per="member")} if direction == "forward" else {}

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y, carry):
        if start == 0:
            carry[0] = 0.0
        for i in range(start, stop):
            carry[0] += x[i]
            y[i] = carry[0]


@register("wrong_order")
class NeedsOrder(Copy):
    """Each block reads what the block before has written."""

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = x[i] + (y[i - 1] if i > 0 else 0.0)


@register("wrong_cut")
class KnowsBlock(Copy):
    """The first element of each block counts twice."""

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = x[i]
        y[start] *= 2.0


@register("wrong_precision")
class LosesDigits(Elementwise):
    """y = sin(x + 100000): float32 does not hold that sum."""

    def forward(x):
        return math.sin(x + 100000)

    def backward(x, dy):
        return dy * math.cos(x + 100000)


@register("wrong_variant")
class WrongVariant(Copy):
    """The fast variant is a little off."""

    prefer = {"cpu": ("fast",)}

    @forward("cpu", over="x", writes="y", variant="fast")
    def fast_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = 1.0001 * x[i]


@register("wrong_mixes")
class MixesChannels(Copy):
    """Each row is reversed: that reads other channels, and does not say so."""

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y, channels):
        for i in range(start, stop):
            y[i] = x[i - i % channels + channels - 1 - i % channels]

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x, channels):
        for i in range(start, stop):
            d_x[i] = dy[i - i % channels + channels - 1 - i % channels]

    def scalars(self, t, index=None):
        return {"channels": t.x.shape[-1]}


@register("wrong_kink")
class Sawtooth(Elementwise):
    """y = the distance of 300000 x to the nearest even number: kinks wherever one looks, and none declared."""

    def forward(x):
        return abs(300000 * x - 2 * math.floor(150000 * x + 0.5))

    def backward(x, dy):
        return dy * 300000 * math.copysign(1, 300000 * x - 2 * math.floor(150000 * x + 0.5))


@register("wrong_cuda")
class WrongCuda(Copy):
    """The CUDA kernel stops one element short."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size - 1:
            y[i] = x[i]

    @backward("cuda", over="x", writes="d_x")
    def backward_cuda(dy, d_x):
        i = cuda.grid(1)
        if i < d_x.size:
            d_x[i] = dy[i]


@register("wrong_python")
class Breaks(Copy):
    """The saved tensors cannot be told: Python stops."""

    def saved(self, x):
        return {"mask": Tensor(x.shapes)}
