"""Layers of numbers for channels and rows, with states, saved tensors and losses, that are wrong.

A message must name the lines that end with the comment "told"; see tests/check/test_mistakes_on_cpus.py.
"""

import math

from netspec.plugin import (
    Channelwise,
    LayerError,
    Param,
    Rowwise,
    State,
    Tensor,
    per_channel,
    per_element,
    per_row,
    register,
)

ONES = {"type": "constant", "value": 1.0}


def both(one, other):
    """Of two sums."""
    return one + other


def mean_of(total, pixels):
    """Over the pixels of a channel."""
    return total / pixels


def follow(total, mean, pixels):
    """The next mean."""
    return 0.5 * mean + 0.5 * total / pixels


def length_of(total):
    """Of a row, by the sum of its squares."""
    return math.sqrt(total + 1)


def row_mean(total, width):
    """Over a row."""
    return total / width


def fifth(total):
    """The mean of five."""
    return total / 5


def row_of(total, width):
    """What a row adds to the report."""
    return total / width, 1.0


def numbers_of(total, width):
    """The same, of single numbers."""
    return total, width


class Gain(Channelwise):
    """y = gain[c] x, rightly."""

    def params(self, x):
        return {"gain": Param(x.shape[-1:], ONES)}

    @per_element("forward", writes="y", channels=["gain"])
    def scaled(x, gain):
        return gain * x

    @per_element("backward", writes="d_x", channels=["gain"])
    def d_x(dy, gain):
        return gain * dy

    @per_channel("backward", writes="d_gain")
    def d_gain(x, dy):
        return x * dy


@register("sum_of_elements")
class SumOfElements(Gain):
    """A parameter's gradient is a sum, and is written as if it had a number for each element."""

    @per_element("backward", writes="d_gain")
    def d_gain(x, dy):  # told
        return x * dy


@register("sum_without_channels")
class WithoutChannels(Gain):
    """A parameter that is not said to be a number of the channel."""

    @per_element("forward", writes="y")
    def scaled(x, gain):  # told
        return gain * x


@register("sum_misspelt")
class Misspelt(Gain):
    """A parameter that nothing is called by."""

    @per_element("backward", writes="d_x", channels=["gain"])
    def d_x(dy, gian):  # told
        return gian * dy


@register("sum_of_two")
class OneOfTwo(Gain):
    """Two sums are announced, one is given."""

    @per_channel("backward", writes="d_gain", sums=2, finish=both)
    def d_gain(x, dy):  # told
        return x * dy


@register("sum_of_pixels")
class MeanOfPixels(Gain):
    """The gradient is the mean over pixels, which is no sum over them."""

    @per_channel("backward", writes="d_gain", finish=mean_of, numbers=["pixels"])
    def d_gain(x, dy):  # told
        return x * dy


@register("sum_of_ones")
class ForgetsFactor(Gain):
    """The input's gradient without the parameter, which begins as 1."""

    @per_element("backward", writes="d_x")
    def d_x(dy):  # told
        return dy


class Centred(Channelwise):
    """y = x - mean[c], where mean follows the batches', rightly."""

    def state(self, x):
        return {"mean": State(x.shape[-1:])}

    @per_element("forward", writes="y", channels=["mean"])
    def centre(x, mean):  # told in state_shape
        return x - mean

    @per_channel("forward", writes="next_mean", finish=follow, channels=["mean"], numbers=["pixels"], phases="train")
    def total(x):
        return x

    @per_element("backward", writes="d_x")
    def d_x(dy):
        return dy


@register("state_in_evaluation")
class InEvaluation(Centred):
    """The mean follows images that are evaluated, too."""

    @per_channel("forward", writes="next_mean", finish=follow, channels=["mean"], numbers=["pixels"])
    def total(x):  # told
        return x


@register("state_never_renewed")
class NeverRenewed(Channelwise):
    """Nothing writes the state's next value."""

    def state(self, x):
        return {"mean": State(x.shape[-1:])}

    @per_element("forward", writes="y", channels=["mean"])
    def centre(x, mean):
        return x - mean

    @per_element("backward", writes="d_x")
    def d_x(dy):
        return dy


@register("state_shape")
class StateShape(Centred):
    """A number for each place of an image, where the pass gives one for each channel."""

    def state(self, x):
        return {"mean": State(x.shape[1:])}


class Normed(Rowwise):
    """y = x / root(sum of x x + 1) over the channels of a pixel, rightly."""

    @per_row("forward", gives="length", finish=length_of)
    def squares(x):
        return x * x

    @per_element("forward", writes="y")
    def divide(x, length):
        return x / length

    @per_row("backward", gives="along")
    def products(y, dy):
        return y * dy

    @per_element("backward", writes="d_x")
    def d_x(y, dy, length, along):
        return (dy - along * y) / length


@register("row_of_channels")
class SumsChannels(Normed):
    """Backward sums over the pixels of a channel, not over the channels of a pixel."""

    @per_channel("backward", writes="along")
    def products(y, dy):  # told
        return y * dy


@register("row_sign")
class RowSign(Normed):
    """The sum is added where it is to be taken away."""

    @per_element("backward", writes="d_x")
    def d_x(y, dy, length, along):  # told
        return (dy + along * y) / length


@register("row_constant_width")
class ConstantWidth(Normed):
    """Rows of five channels alone come out right: the gradient divides by 5."""

    examples = ({"attrs": {}, "inputs": [(2, 3, 2, 5)]}, {"attrs": {}, "inputs": [(6, 5)]})

    @per_row("forward", gives="length", finish=row_mean)
    def squares(x):
        return x

    @per_element("forward", writes="y")
    def divide(x, length):
        return x - length

    @per_row("backward", gives="along", finish=fifth)
    def products(dy):
        return dy

    @per_element("backward", writes="d_x")
    def d_x(dy, along):  # told
        return dy - along


@register("row_lambda")
class RowLambda(Normed):
    """What is made of a sum stands in the mark, whose text is that of the marked function."""

    @per_row("forward", gives="length", finish=lambda total: math.sqrt(total + 1))  # told
    def squares(x):
        return x * x


class Squares(Rowwise):
    """loss = mean of (x - target)^2, rightly."""

    inputs = ("x", "target")
    optional = ("target",)
    reports = ("loss", "count")
    examples = ({"attrs": {}, "inputs": [(5, 7), (5, 7)]},)

    def outputs(self, x, target):
        if len(x.shape) != 2:
            raise LayerError(f"rows are (batch, numbers), got {x.shape}")
        prediction = Tensor(x.shape, differentiable=False)
        if target is None:
            return {"prediction": prediction}
        if target.shape != x.shape or "float" not in target.dtype:
            raise LayerError(f"targets must be floats of shape {x.shape}, got {target.dtype} of {target.shape}")
        return {"prediction": prediction, "report": Tensor((2,), differentiable=False)}

    @per_row("forward", total="report", finish=row_of, phases=("train", "eval"))
    def losses(x, target):
        return (x - target) * (x - target)

    @per_element("forward", writes="prediction")
    def answer(x):
        return x

    @per_element("backward", writes=("d_x", "d_target"))
    def slopes(x, target, valid, images, width):
        slope = 2 * (x - target) / (images * width) if valid > 0 else 0
        return slope, -slope


@register("loss_of_sum")
class SlopeOfSum(Squares):
    """Gradients of the sum over the images, not of the mean."""

    @per_element("backward", writes=("d_x", "d_target"))
    def slopes(x, target, valid, width):  # told
        slope = 2 * (x - target) / width if valid > 0 else 0
        return slope, -slope


@register("loss_of_filling")
class SlopeOfFilling(Squares):
    """Rows that only fill up the batch have gradients."""

    @per_element("backward", writes=("d_x", "d_target"))
    def slopes(x, target, images, width):  # told
        slope = 2 * (x - target) / (images * width)
        return slope, -slope


@register("loss_counts_numbers")
class CountsNumbers(Squares):
    """The count is that of numbers, not of rows."""

    @per_row("forward", total="report", finish=numbers_of, phases=("train", "eval"))
    def losses(x, target):  # told
        return (x - target) * (x - target)


@register("loss_of_target")
class OneSlope(Squares):
    """The target's gradient has the sign of the prediction's."""

    @per_element("backward", writes=("d_x", "d_target"))
    def slopes(x, target, valid, images, width):  # told
        slope = 2 * (x - target) / (images * width) if valid > 0 else 0
        return slope, slope
