"""Mistakes in kernels for CPUs and in what methods answer; tests/check/test_mistakes_on_cpus.py says what is told."""

import numpy as np

from netspec.plugin import (
    Flops,
    Layer,
    Param,
    Tensor,
    Workspace,
    backward,
    boolean,
    choice,
    cuda,
    device,
    forward,
    integer,
    number,
    register,
)


class Twice(Layer):
    """y = 2 x, rightly."""

    def outputs(self, x):
        return Tensor(x.shape, x.dtype)

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = 2 * x[i]

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        for i in range(start, stop):
            d_x[i] = 2 * dy[i]


class Weighted(Twice):
    """The same with a parameter that nothing reads."""

    @backward("cpu", over="w", writes="d_w")
    def no_gradient(start, stop, d_w):
        for i in range(start, stop):
            d_w[i] = 0


@register("cpu_reads_outside")
class ReadsOutside(Twice):
    """The neighbour of the last element is read."""

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = 2 * x[i] if x[i + 1] < 9 else 0.0  # told


@register("cpu_writes_outside")
class WritesOutside(Twice):
    """An element too many is written."""

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i + 1] = 2 * x[i]  # told


@register("cpu_far_outside")
class FarOutside(Twice):
    """A place that no memory has."""

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i + 10_000_000_000] = 2 * x[i]  # told


@register("cpu_wraps_round")
class WrapsRound(Twice):
    """Before the first element stands, in Python, the last."""

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = 2 * x[i] if x[i - 1] < 9 else 0.0  # told


@device
def neighbour(values, place):
    return values[place + 1]  # told in cpu_helper_outside


@register("cpu_helper_outside")
class HelperOutside(Twice):
    """A helper leaves the array that it is given."""

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = 2 * x[i] if neighbour(x, i) < 9 else 0.0


@register("cpu_literal_outside")
class LiteralOutside(Twice):
    """There is no fifth channel."""

    @forward("cpu", over="x", axes=0, writes="y")
    def forward_cpu(start, stop, x, y):
        for n in range(start, stop):
            row, out = x[n].reshape(-1), y[n].reshape(-1)
            for i in range(row.size):
                out[i] = 2 * row[i] if row[1000] < 9 else 0.0  # told


@register("cpu_large")
class Large(Twice):
    """Only large arrays are left."""

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = 2 * x[i]
        if x.size > 5000 and stop == x.size:
            y[stop] = 1.0  # told


@register("cpu_second_block")
class SecondBlock(Twice):
    """Right in the first block alone."""

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):  # told
        for i in range(stop - start):
            y[i] = 2 * x[i]


@register("cpu_odd_groups")
class OddGroups(Twice):
    """Channels that do not divide into groups are left out."""

    attrs = {"groups": integer("Parts.", default=2, minimum=1)}
    divided = ("groups",)

    @forward("cpu", over="x", axes=0, writes="y")
    def forward_cpu(start, stop, x, y, groups):  # told
        share = x.shape[-1] // groups
        for n in range(start, stop):
            row, out = x[n].reshape(-1, x.shape[-1]), y[n].reshape(-1, x.shape[-1])
            for p in range(row.shape[0]):
                for c in range(groups * share):
                    out[p, c] = 2 * row[p, c]


@register("cpu_allocates")
class AllocatesArray(Twice):
    """An array in each call."""

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        twice = np.empty(stop - start, x.dtype)  # told
        for i in range(start, stop):
            twice[i - start] = 2 * x[i]
        for i in range(start, stop):
            y[i] = twice[i - start]


@register("cpu_allocates_by_arithmetic")
class AllocatesByArithmetic(Twice):
    """The product is an array first."""

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        y[start:stop] = 2 * x[start:stop]  # told


@register("cpu_prints")
class Prints(Twice):
    """It says what it does."""

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = 2 * x[i]
        print("done")  # told


@register("cpu_random")
class OwnNumbers(Twice):
    """numpy's random numbers."""

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = 2 * x[i] + np.random.random()  # told


@register("cpu_changes_input")
class ChangesInput(Twice):
    """The input is spoilt."""

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = 2 * x[i]
            x[i] = 0.0  # told


@register("cpu_adds")
class Adds(Twice):
    """The gradient is added to what is there."""

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):  # told
        for i in range(start, stop):
            d_x[i] += 2 * dy[i]


@register("cpu_beyond_its_block")
class BeyondItsBlock(Twice):
    """Each call does the work of those that follow."""

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):  # told
        for i in range(start, x.size):
            y[i] = 2 * x[i]


@register("cpu_shared_scratch")
class SharedScratch(Twice):
    """Calls that run at once have one scratch row."""

    def workspace(self, t, variant, direction):
        return {"scratch": Workspace((t.x.shape[-1],))} if direction == "forward" else {}

    @forward("cpu", over="x", axes=0, writes=("y", "scratch"))
    def forward_cpu(start, stop, x, y, scratch):  # told
        for n in range(start, stop):
            row, out = x[n].reshape(-1, x.shape[-1]), y[n].reshape(-1, x.shape[-1])
            for p in range(row.shape[0]):
                for c in range(row.shape[1]):
                    scratch[c] = 2 * row[p, c]
                for c in range(row.shape[1]):
                    out[p, c] = scratch[c]


@register("cpu_parameter_of_the_batch")
class ParameterOfTheBatch(Weighted):
    """Other batches have other parameters."""

    def params(self, x):
        return {"w": Param((x.shape[0], x.shape[-1]), {"type": "constant", "value": 1.0})}


@register("cpu_parameter_in_training")
class ParameterInTraining(Weighted):
    """Evaluation has no parameter."""

    def params(self, x):
        return {"w": Param(x.shape[-1:], {"type": "constant", "value": 1.0})} if self.phase == "train" else {}


@register("cpu_flops_of_an_image")
class FlopsOfAnImage(Twice):
    """Operations are counted for one image."""

    def flops(self, t):
        return Flops(forward=t.x.size // t.x.shape[0], d_inputs=t.x.size)


@register("cpu_asked_twice")
class AskedTwice(Twice):
    """A number that changes."""

    asked = 0

    def scalars(self, t, index=None):
        AskedTwice.asked += 1
        return {"many": AskedTwice.asked}

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y, many):
        for i in range(start, stop):
            y[i] = 2 * x[i] if many > 0 else 0.0


@register("cpu_word")
class Word(Twice):
    """Backward does not know the second word."""

    attrs = {"mode": choice("twice", "thrice", description="How often.", default="twice")}

    @forward("cpu", over="x", writes="y", when={"mode": "twice"})
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = 2 * x[i]

    @forward("cpu", over="x", writes="y", when={"mode": "thrice"})
    def thrice_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = 3 * x[i]

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):  # told
        for i in range(start, stop):
            d_x[i] = 2 * dy[i]


@register("cpu_flag")
class Flag(Twice):
    """Without the flag another function."""

    attrs = {"double": boolean("Twice, or once.", default=True)}

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y, double):
        for i in range(start, stop):
            y[i] = 2 * x[i] if double else x[i]

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):  # told
        for i in range(start, stop):
            d_x[i] = 2 * dy[i]


@register("cpu_hard_coded")
class HardCoded(Twice):
    """Backward has the default in the attribute's place."""

    attrs = {"factor": number("The factor.", default=2.0)}

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y, factor):
        for i in range(start, stop):
            y[i] = factor * x[i]

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):  # told
        for i in range(start, stop):
            d_x[i] = 2 * dy[i]


@register("cpu_no_backward")
class NoBackward(Layer):
    """Forward alone."""

    outputs = Twice.outputs

    @forward("cpu", over="x", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = 2 * x[i]


@register("cuda_no_backward")
class NoBackwardOnGpus(Twice):
    """On GPUs forward alone."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = 2 * x[i]


@register("cuda_double")
class Double(Twice):
    """A whole number makes it double precision."""

    @forward("cuda", over="x", writes="y")
    def forward_cuda(x, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = x[i] / (i + 1) * (i + 1) * 2  # told

    @backward("cuda", over="x", writes="d_x")
    def backward_cuda(dy, d_x):
        i = cuda.grid(1)
        if i < dy.size:
            d_x[i] = 2 * dy[i]
