"""Layers with random numbers, state or a loss, right ones and wrong ones; see wrong.py."""

from netspec.plugin import (
    ITERATION,
    Layer,
    LayerError,
    Param,
    State,
    Tensor,
    backward,
    forward,
    number,
    register,
    uniform,
)


class Noise(Layer):
    """y = x + a random number, rightly."""

    def outputs(self, x):
        return Tensor(x.shape)

    def scalars(self, t, index=None):
        return {"channels": t.x.shape[-1]}

    @forward("cpu", over="x", writes="y", phases=("train",))
    def forward_cpu(start, stop, x, y, key, counters, channels, channel_offset, channel_count):
        for i in range(start, stop):
            index = i // channels * channel_count + channel_offset + i % channels
            y[i] = x[i] + uniform(key, counters[ITERATION], index)

    @forward("cpu", over="x", writes="y", phases=("eval", "predict"))
    def evaluate_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[i] = x[i]

    @backward("cpu", over="x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        for i in range(start, stop):
            d_x[i] = dy[i]


@register("right_noise")
class RightNoise(Noise):
    """y = x + a random number in training."""


@register("wrong_noise_place")
class NoiseByPlace(Noise):
    """Numbers are drawn by the place in the shard, so that two devices draw the same."""

    @forward("cpu", over="x", writes="y", phases=("train",))
    def forward_cpu(start, stop, x, y, key, counters):
        for i in range(start, stop):
            y[i] = x[i] + uniform(key, counters[ITERATION], i)


@register("wrong_noise_once")
class NoiseOnce(Noise):
    """Each iteration draws the same numbers."""

    @forward("cpu", over="x", writes="y", phases=("train",))
    def forward_cpu(start, stop, x, y, key, channels, channel_offset, channel_count):
        for i in range(start, stop):
            y[i] = x[i] + uniform(key, 0, i // channels * channel_count + channel_offset + i % channels)


@register("wrong_noise_phase")
class NoiseAlways(Noise):
    """Evaluation is random too."""

    @forward("cpu", over="x", writes="y", phases=("eval", "predict"))
    def evaluate_cpu(start, stop, x, y, key, counters):
        for i in range(start, stop):
            y[i] = x[i] + uniform(key, counters[ITERATION], i)


@register("right_state")
class RunningMean(Layer):
    """y = scale * (x - mean): the running mean of each channel is taken off. Right, and uses state."""

    attrs = {"keep": number("Share of the old mean.", default=0.9, minimum=0, maximum=1)}

    def outputs(self, x):
        if len(x.shape) != 2:
            raise LayerError("rows of numbers are wanted")
        return Tensor(x.shape)

    def params(self, x):
        return {"scale": Param((x.shape[1],), {"type": "constant", "value": 1.0})}

    def state(self, x):
        return {"mean": State((x.shape[1],))}

    @forward("cpu", over="x", axes=1, block=4, writes="y")
    def forward_cpu(start, stop, x, y, mean, scale):
        for c in range(start, stop):
            for n in range(x.shape[0]):
                y[n, c] = scale[c] * (x[n, c] - mean[c])

    @forward("cpu", over="x", axes=1, writes="next_mean", phases=("train",))
    def renew_cpu(start, stop, x, mean, next_mean, keep):
        for c in range(start, stop):
            next_mean[c] = keep * mean[c]
            for n in range(x.shape[0]):
                next_mean[c] += (1.0 - keep) * x[n, c] / x.shape[0]

    @backward("cpu", over="x", axes=1, writes=("d_x", "d_scale"))
    def backward_cpu(start, stop, x, dy, d_x, d_scale, mean, scale):
        for c in range(start, stop):
            d_scale[c] = 0.0
            for n in range(x.shape[0]):
                d_x[n, c] = scale[c] * dy[n, c]
                d_scale[c] += dy[n, c] * (x[n, c] - mean[c])


@register("wrong_state")
class RenewsAlways(RunningMean):
    """The state is renewed in evaluation too."""

    @forward("cpu", over="x", axes=1, writes="next_mean")
    def renew_cpu(start, stop, x, mean, next_mean, keep):
        for c in range(start, stop):
            next_mean[c] = keep * mean[c] + (1.0 - keep) * x[0, c]


@register("wrong_cut_size")
class KeepsWhole(RunningMean):
    """A shard declares as many parameters as the whole has channels."""

    def params(self, x):
        return {"scale": Param((8,), {"type": "constant", "value": 1.0})}

    @backward("cpu", over="x", axes=1, writes="d_x")
    def backward_cpu(start, stop, dy, d_x, scale):
        for c in range(start, stop):
            for n in range(dy.shape[0]):
                d_x[n, c] = scale[c] * dy[n, c]

    @backward("cpu", over="scale", axes=0, writes="d_scale")
    def scale_cpu(start, stop, x, dy, d_scale, mean):
        for c in range(start, stop):
            d_scale[c] = 0.0
            for n in range(x.shape[0] if c < x.shape[1] else 0):
                d_scale[c] += dy[n, c] * (x[n, c] - mean[c])


@register("right_cost")
class SquaredError(Layer):
    """loss = the sum of squares of each row. Right, and a cost layer."""

    reports = ("loss", "count")

    def outputs(self, x):
        if len(x.shape) != 2:
            raise LayerError("rows of numbers are wanted")
        probs = Tensor(x.shape, differentiable=False)
        report = {} if self.phase == "predict" else {"report": Tensor((2,), differentiable=False)}
        return {"probs": probs, **report}

    @forward("cpu", over="x", axes=0, writes="probs")
    def forward_cpu(start, stop, x, probs):
        for i in range(start, stop):
            for c in range(x.shape[1]):
                probs[i, c] = x[i, c]

    @forward("cpu", over="report", axes=0, block=2, writes="report", phases=("train", "eval"))
    def report_cpu(start, stop, x, report, counters):
        report[0] = 0.0
        report[1] = counters[1]
        for i in range(counters[1]):
            for c in range(x.shape[1]):
                report[0] += x[i, c] * x[i, c]

    @backward("cpu", over="x", axes=0, writes="d_x")
    def backward_cpu(start, stop, x, d_x, counters):
        for i in range(start, stop):
            for c in range(x.shape[1]):
                d_x[i, c] = 2.0 * x[i, c] / counters[1] if i < counters[1] else 0.0


@register("wrong_cost")
class CountsAll(SquaredError):
    """Rows that only fill up a batch count."""

    @forward("cpu", over="report", axes=0, block=2, writes="report", phases=("train", "eval"))
    def report_cpu(start, stop, x, report, counters):
        report[0] = 0.0
        report[1] = counters[1]
        for i in range(x.shape[0]):
            for c in range(x.shape[1]):
                report[0] += x[i, c] * x[i, c]


@register("wrong_places")
class Backwards(Layer):
    """y = x, each block the elements of another: what is fused into the pass would work on others too."""

    def outputs(self, x):
        return Tensor(x.shape)

    @forward("cpu", over="y", writes="y")
    def forward_cpu(start, stop, x, y):
        for i in range(start, stop):
            y[y.size - 1 - i] = x[y.size - 1 - i]

    @backward("cpu", over="d_x", writes="d_x")
    def backward_cpu(start, stop, dy, d_x):
        for i in range(start, stop):
            d_x[i] = dy[i]
