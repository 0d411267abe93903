"""Layers that hand on from forward to backward, or take from other layers, what they should not.

A message must name the lines that end with the comment "told"; see tests/check/test_mistakes_on_cpus.py.
"""

import numpy as np

from netspec.plugin import Layer, Param, Tensor, Workspace, backward, choice, forward, register


class Squared(Layer):
    """y = x x, rightly, by a saved tensor of twice x."""

    def outputs(self, x):
        return Tensor(x.shape, x.dtype)

    def saved(self, x):
        return {"slope": Tensor(x.shape)}

    @forward("cpu", over="x", writes=("y", "slope"))
    def forward_cpu(start, stop, x, y, slope):
        for i in range(start, stop):
            y[i] = x[i] * x[i]
            slope[i] = 2 * x[i]

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, slope, dy, d_x):
        for i in range(start, stop):
            d_x[i] = slope[i] * dy[i]


@register("saved_in_evaluation")
class SavedInEvaluation(Squared):
    """In training nothing is saved."""

    @forward("cpu", over="x", writes="slope", phases=("eval", "predict"))
    def saves_cpu(start, stop, x, slope):
        for i in range(start, stop):
            slope[i] = 2 * x[i]

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = x[i] * x[i]


@register("saved_half")
class SavedHalf(Squared):
    """Only positive numbers have their slope saved."""

    @forward("cpu", over="x", writes=("y", "slope"))
    def forward_cpu(start, stop, x, y, slope):  # told
        for i in range(start, stop):
            y[i] = x[i] * x[i]
            if x[i] > 0:
                slope[i] = 2 * x[i]


@register("saved_in_workspace")
class SavedInWorkspace(Squared):
    """Scratch memory of a step is taken for what lasts until backward."""

    def saved(self, x):
        return {}

    def workspace(self, t, variant, direction):
        return {"slope": Workspace(t.x.shape)}


@register("saved_written_back")
class SavedWrittenBack(Squared):
    """Backward scales what was saved, in its place."""

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, slope, dy, d_x):
        for i in range(start, stop):
            slope[i] *= dy[i]  # told
            d_x[i] = slope[i]


@register("in_place_reads_input")
class InPlace(Squared):
    """y may lie in x's memory, and backward reads x."""

    inplace = True

    def saved(self, x):
        return {}

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = x[i] * x[i]

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, x, dy, d_x):
        for i in range(start, stop):
            d_x[i] = 2 * x[i] * dy[i]


@register("roll_itself")
class Roll(Layer):
    """Pixels move on by one; going back they would have to move the other way."""

    backward_as = "itself"
    channelwise = True
    examples = ({"attrs": {}, "inputs": [(2, 5, 3)]},)

    def outputs(self, x):
        return Tensor(x.shape, x.dtype)

    @forward("cpu", over="y", axes=0, writes="y")
    def roll_cpu(start, stop, x, y):  # told
        for n in range(start, stop):
            for h in range(y.shape[1]):
                y[n, h] = x[n, h - 1 if h > 0 else y.shape[1] - 1]


@register("two_writers")
class TwoWriters(Squared):
    """The second pass writes over what the first has written."""

    @forward("cpu", over="x", writes="y")
    def again_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = abs(x[i])


@register("swapped_gradients")
class Difference(Layer):
    """y = a - b, whose gradients are taken for each other."""

    inputs = ("a", "b")
    examples = ({"attrs": {}, "inputs": [(3, 4), (3, 4)]},)

    def outputs(self, a, b):
        return Tensor(a.shape, a.dtype)

    @forward("cpu", over="y", writes="y")
    def forward_cpu(start, stop, a, b, y):
        for i in range(start, stop):
            y[i] = a[i] - b[i]

    @backward("cpu", over="dy", writes=("d_a", "d_b"))
    def backward_cpu(start, stop, dy, d_a, d_b):  # told
        for i in range(start, stop):
            d_b[i] = dy[i]
            d_a[i] = -dy[i]


@register("transposed_product")
class TransposedProduct(Layer):
    """y = x weight; the input's gradient takes the weight the wrong way round, which fits where it is square."""

    whole_only = "place it on one device"
    examples = ({"attrs": {}, "inputs": [(5, 4)]},)

    def outputs(self, x):
        return Tensor(x.shape, x.dtype)

    def params(self, x):
        return {"weight": Param((x.shape[-1], x.shape[-1]), {"type": "gaussian", "std": 1.0})}

    @forward("cpu", over="y", axes=0, block=32, writes="y", host=True)
    def product(ops, start, stop, x, weight, y):
        ops.gemm(x[start:stop].reshape(-1, weight.shape[0]), weight, y[start:stop].reshape(-1, weight.shape[0]))

    @backward("cpu", over="d_x", axes=0, block=32, writes="d_x", host=True)
    def d_x(ops, start, stop, dy, weight, d_x):  # told
        ops.gemm(dy[start:stop].reshape(-1, weight.shape[0]), weight, d_x[start:stop].reshape(-1, weight.shape[0]))

    @backward("cpu", over="d_weight", axes=0, block=32, writes="d_weight", host=True)
    def d_weight(ops, start, stop, x, dy, d_weight):
        size = d_weight.shape[0]
        ops.gemm(x.reshape(-1, size)[:, start:stop], dy.reshape(-1, size), d_weight[start:stop], trans_a=True)


@register("unknown_word")
class UnknownWord(Squared):
    """A kernel for a word that the attribute does not have."""

    attrs = {"mode": choice("square", "cube", description="Which power.", default="square")}

    @forward("cpu", over="x", writes=("y", "slope"), when={"mode": "squares"})
    def forward_cpu(start, stop, x, y, slope):  # told
        for i in range(start, stop):
            y[i] = x[i] * x[i]
            slope[i] = 2 * x[i]


@register("unknown_attribute")
class UnknownAttribute(Squared):
    """A kernel for an attribute that the layer does not have."""

    @forward("cpu", over="x", writes=("y", "slope"), when={"mode": "square"})
    def forward_cpu(start, stop, x, y, slope):  # told
        for i in range(start, stop):
            y[i] = x[i] * x[i]
            slope[i] = 2 * x[i]


@register("variant_unchosen")
class VariantUnchosen(Squared):
    """A fast variant that nothing prefers."""

    @forward("cpu", over="x", writes=("y", "slope"), variant="fast")
    def fast_cpu(start, stop, x, y, slope):  # told
        for i in range(start, stop):
            y[i] = x[i] * x[i]
            slope[i] = 2 * x[i]


@register("variant_rounds")
class VariantRounds(Squared):
    """A fast variant that keeps three decimals."""

    prefer = {"cpu": ("fast",)}

    @forward("cpu", over="x", writes=("y", "slope"), variant="fast")
    def fast_cpu(start, stop, x, y, slope):  # told
        for i in range(start, stop):
            y[i] = np.round(x[i] * x[i] * 1000) / 1000
            slope[i] = 2 * x[i]


@register("variant_in_fours")
class VariantInFours(Squared):
    """A fast variant for sizes that are multiples of four, which does not say so."""

    prefer = {"cpu": ("fast",)}

    @forward("cpu", over="x", writes=("y", "slope"), variant="fast")
    def fast_cpu(start, stop, x, y, slope):  # told
        for i in range(start, stop - 3, 4):
            for k in range(4):
                y[i + k] = x[i + k] * x[i + k]
                slope[i + k] = 2 * x[i + k]


@register("wide_output")
class WideOutput(Squared):
    """The output is declared as float64."""

    def outputs(self, x):
        return Tensor(x.shape, "float64")


@register("listed_scalar")
class ListedScalar(Squared):
    """A scalar that is an array."""

    def scalars(self, t, index=None):  # told
        return {"factors": [1.0, 1.0, 1.0]}

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, slope, dy, d_x, factors):
        for i in range(start, stop):
            d_x[i] = slope[i] * dy[i] * factors[0]
