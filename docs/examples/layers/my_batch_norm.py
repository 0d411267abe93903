"""Batch normalisation (Ioffe and Szegedy 2015), from outside."""

import math

from netspec.plugin import Channelwise, LayerError, Param, State, Tensor, number, per_channel, per_element, register


def mean_of(total, mean, pixels, momentum):
    """The batch's mean, and the running one."""
    return total / pixels, mean + momentum * (total / pixels - mean)


def spread_of(squares, variance, pixels, momentum, epsilon):
    """1 / the batch's standard deviation, and the running variance, unbiased."""
    return 1 / math.sqrt(squares / pixels + epsilon), variance + momentum * (squares / (pixels - 1) - variance)


@register("my_batch_norm")
class MyBatchNorm(Channelwise):
    """y = (x - mean[c]) / sqrt(variance[c] + epsilon) * weight[c] + bias[c], by the batch or, else, by states"""

    attrs = {
        "momentum": number("Share of the batch in the states.", default=0.1),
        "epsilon": number("Added to the variance.", default=1e-5),
    }
    over_images = "mean and variance"
    examples = ({"attrs": {}, "inputs": [(3, 4, 3, 8)]}, {"attrs": {"momentum": 0.5}, "inputs": [(12, 7)]})

    def outputs(self, x):
        if self.phase == "train" and x.size == x.shape[-1]:
            raise LayerError("a variance needs more than one value a channel", "batch: 2")
        return super().outputs(x)

    def params(self, x):
        starts = {"weight": 1.0, "bias": 0.0}
        return {name: Param(x.shape[-1:], {"type": "constant", "value": start}) for name, start in starts.items()}

    def state(self, x):
        return {"mean": State(x.shape[-1:]), "variance": State(x.shape[-1:], init=1.0)}

    def saved(self, x):
        return dict.fromkeys(("batch_mean", "rstd"), Tensor(x.shape[-1:])) if self.phase == "train" else {}

    @per_channel("forward", writes=("batch_mean", "next_mean"), finish=mean_of, channels=["mean"],
                 numbers=["pixels", "momentum"], phases="train")  # fmt: skip
    def mean(x):
        return x

    @per_channel("forward", writes=("rstd", "next_variance"), finish=spread_of, channels=["batch_mean", "variance"],
                 numbers=["pixels", "momentum", "epsilon"], phases="train")  # fmt: skip
    def spread(x, batch_mean):
        return (x - batch_mean) * (x - batch_mean)

    @per_element("forward", writes="y", channels=["batch_mean", "rstd", "weight", "bias"], phases="train")
    def normalise(x, batch_mean, rstd, weight, bias):
        return (x - batch_mean) * rstd * weight + bias

    @per_element("forward", writes="y", channels=["mean", "variance", "weight", "bias"], numbers=["epsilon"],
                 phases=("eval", "predict"))  # fmt: skip
    def normalise_by_states(x, mean, variance, weight, bias, epsilon):
        return (x - mean) / math.sqrt(variance + epsilon) * weight + bias

    @per_channel("backward", writes=("d_weight", "d_bias"), channels=["batch_mean", "rstd"])
    def d_numbers(x, dy, batch_mean, rstd):
        return dy * ((x - batch_mean) * rstd), dy

    @per_element("backward", writes="d_x", channels=["batch_mean", "rstd", "weight", "d_weight", "d_bias"],
                 numbers=["pixels"])  # fmt: skip
    def d_x(x, dy, batch_mean, rstd, weight, d_weight, d_bias, pixels):
        return weight * rstd * (dy - (d_bias + (x - batch_mean) * rstd * d_weight) / pixels)
