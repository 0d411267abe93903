"""Batch normalisation (Ioffe and Szegedy 2015): each channel by its mean and variance over the batch."""

import math

from netspec.plugin import (
    Channelwise,
    Flops,
    LayerError,
    Param,
    State,
    Tensor,
    choice,
    number,
    per_channel,
    per_element,
    register,
)


def mean_of(total, mean, pixels, momentum):
    """The batch's mean, and the running one."""
    batch_mean = total / pixels
    return batch_mean, mean + momentum * (batch_mean - mean)


def spread_of(squares, variance, pixels, momentum, epsilon):
    """1 / the batch's standard deviation, and the running variance, of which the batch's is an unbiased estimate."""
    return 1 / math.sqrt(squares / pixels + epsilon), variance + momentum * (squares / (pixels - 1) - variance)


@register("batch_norm")
class BatchNorm(Channelwise):
    """y = (x - mean[c]) / sqrt(variance[c] + epsilon) * weight[c] + bias[c]

    In training mean and variance are those of the batch, over all images and pixels; the states ``mean`` and
    ``variance`` follow them by the share ``momentum``, and evaluation normalises with these. As PyTorch's BatchNorm2d:
    the running variance is the unbiased one. Over devices each channel lies on one, so that statistics are whole.

    With replicas each normalises by the statistics of its own images (ghost batch normalisation, Hoffer, Hubara and
    Soudry 2017), as under torch.nn.parallel.DistributedDataParallel, and with ``split: batch`` each device does by its
    own rows; the states follow the mean. ``statistics: batch`` insists on those of the whole batch: both are then
    refused.
    """

    attrs = {
        "momentum": number("Share of the batch in the running mean and variance.", default=0.1, above=0, maximum=1),
        "epsilon": number("Added to the variance.", default=1e-5, above=0),
        "statistics": choice("replica", "batch", default="replica", description=(
            "Whether replicas may have statistics of their own; batch: a spec with replicas is refused.")),
    }  # fmt: skip
    over_images = "mean and variance"
    examples = (
        {"attrs": {}, "inputs": [(3, 4, 3, 8)]},
        {"attrs": {"momentum": 0.5, "epsilon": 1e-3}, "inputs": [(12, 7)]},
        {"attrs": {}, "inputs": [(3, 40, 10, 33)]},
        {"attrs": {}, "inputs": [(3, 2, 3, 2, 4)]},
    )

    def whole_batch(self):
        return self.attrs.statistics == "batch"

    def outputs(self, x):
        if self.phase == "train" and x.size == x.shape[-1]:
            raise LayerError(f"a variance needs more than one value a channel, and the input is {x.shape}", "batch: 2")
        return super().outputs(x)

    def params(self, x):
        starts = {"weight": 1.0, "bias": 0.0}
        return {name: Param(x.shape[-1:], {"type": "constant", "value": one}, axis=0) for name, one in starts.items()}

    def state(self, x):
        return {"mean": State(x.shape[-1:], axis=0), "variance": State(x.shape[-1:], init=1.0, axis=0)}

    def saved(self, x):
        return dict.fromkeys(("batch_mean", "rstd"), Tensor(x.shape[-1:])) if self.phase == "train" else {}

    def flops(self, t):
        return Flops(forward=7 * t.x.size, d_inputs=6 * t.x.size, d_params=4 * t.x.size)

    def onnx(self, nodes, t, x):
        """BatchNormalization, which has channels as its second axis; of other tensors Mul and Add."""
        numbers = [nodes.params[name] for name in ("weight", "bias", "mean", "variance")]
        if len(t.x.shape) in (2, 4):
            return nodes.add("BatchNormalization", x, *map(nodes.constant, numbers), epsilon=self.attrs.epsilon)
        weight, bias, mean, variance = numbers
        factor = weight / (variance + self.attrs.epsilon) ** 0.5
        scaled = nodes.add("Mul", x, nodes.per_channel(factor, t.x, "weight"))
        return nodes.add("Add", scaled, nodes.per_channel(bias - mean * factor, t.x, "bias"))

    def torch(self, code, t, x):
        """nn.BatchNorm1d or nn.BatchNorm2d, of which frames are images of their own."""
        code.holds("weight")
        code.holds("bias")
        code.holds("mean", called="running_mean")
        code.holds("variance", called="running_var")
        kind, attrs = "nn.BatchNorm1d" if len(t.x.shape) == 2 else "nn.BatchNorm2d", self.attrs
        norm = code.module(kind, t.x.shape[-1], eps=attrs.epsilon, momentum=attrs.momentum)
        return code.by_image(norm, x, t.x)

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
