"""What costs of numbers share: the mean over the batch of a function of each prediction and its target."""

from netspec.layers._cpu import row_report
from netspec.layers._cuda.target_cost import TRAINED, make_gradients, make_judge, report_cuda, sharing_of
from netspec.plugin import VALID, Flops, Layer, LayerError, Tensor, Workspace, backward, cuda, device, forward, number

WEIGHT = number("Factor of this loss in the sum of losses.", default=1.0)
COUNT = 3
"""Where a row's report says that it counts."""


class TargetCost(Layer):
    """A cost of predictions x and targets, both (N, K); a subclass has ``kernels=kernels_of(...)``."""

    inputs = ("x", "target")
    optional = ("target",)
    reports = ("loss", "rmse", "mae", "count")

    def outputs(self, x, target):
        if len(x.shape) != 2:
            raise LayerError(f"predictions must have the shape (batch, numbers), got {x.shape}", "read a dense layer")
        prediction = Tensor(x.shape, differentiable=False)
        if target is None:
            return {"prediction": prediction}
        if target.dtype not in ("float32", "bfloat16"):
            raise LayerError(f"targets must be float32, got {target.dtype}", "softmax_loss learns classes from labels")
        if target.shape != x.shape:
            shapes = f"{x.shape[1]} numbers are predicted, and the target has the shape {list(target.shape[1:])}"
            raise LayerError(shapes, f"the target's shape is [{x.shape[1]}], or the layer below has as many units")
        return {"prediction": prediction, "report": Tensor((len(self.reports),), differentiable=False)}

    def onnx(self, nodes, t, x):
        """Nothing: the prediction is the input."""
        return {"prediction": x}

    def torch(self, code, t, x):
        """Nothing: the prediction is the input."""
        return {"prediction": x}

    def workspace(self, t, variant, direction):
        """The report's rows, and the terms of a row's elements where these are computed apart from their sums."""
        rows = row_report.workspace(self, t, direction)
        apart = rows and any("terms" in kernel.args for kernel in self.kernels)
        return {**rows, "terms": Workspace((3, t.x.shape[1]), per="member")} if apart else rows

    def scalars(self, t, index=None):
        delta = float(getattr(self.attrs, "delta", 0.0))
        return {"delta": delta, "sharing": sharing_of(t), **super().scalars(t, index)}

    def flops(self, t):
        return Flops(forward=6 * t.x.size, d_inputs=4 * t.x.size)


@device
def same(x):
    """The prediction that is its input."""
    return x


@device
def square(prediction, target, delta):
    """Of the distance: the root of its mean is reported."""
    return (prediction - target) * (prediction - target)


@device
def distance(prediction, target, delta):
    """The absolute distance."""
    return abs(prediction - target)


def kernels_of(loss, d_loss, d_target=None, answer=same, vectorised=False):
    """The kernels of a cost: ``loss(x, target, delta)`` of one element and its derivatives by x and by the target.

    ``d_target`` is minus ``d_loss`` where a cost depends on the difference alone. ``answer(x)`` is the prediction.
    ``vectorised``: for functions that take longer than their sums, which keep a loop in the order of its elements.
    """

    @device
    def minus(x, target, delta):
        return -d_loss(x, target, delta)

    @device
    def judge_element(x, target, prediction, i, j, delta):
        prediction[i, j] = answer(x[i, j])
        a, b = prediction[i, j], target[i, j]
        return loss(x[i, j], b, delta), square(a, b, delta), distance(a, b, delta)

    @device
    def terms_of(x, target, delta):
        prediction = answer(x)
        second, third = square(prediction, target, delta), distance(prediction, target, delta)
        return prediction, loss(x, target, delta), second, third

    @device
    def store(rows, i, sums, counted, width):
        for r in range(3):
            rows[i, r] = sums[r] / rows.dtype.type(width) if counted else 0.0
        rows[i, COUNT] = 1.0 if counted else 0.0

    @forward("cpu", over="x", axes=0, block=64, writes=("prediction", "rows"), phases=TRAINED)
    def judge_cpu(start, stop, x, target, prediction, rows, counters, delta):
        for i in range(start, stop):
            losses, seconds, thirds = 0.0, 0.0, 0.0
            for j in range(x.shape[1]):
                a, b, c = judge_element(x, target, prediction, i, j, delta)
                losses, seconds, thirds = losses + a, seconds + b, thirds + c
            store(rows, i, (losses, seconds, thirds), i < counters[VALID], x.shape[1])

    @forward("cpu", over="x", axes=0, block=64, writes=("prediction", "rows"), phases=TRAINED)
    def judge_apart_cpu(start, stop, x, target, prediction, rows, terms, counters, delta):
        for i in range(start, stop):
            for j in range(x.shape[1]):
                terms[0, j], terms[1, j], terms[2, j] = judge_element(x, target, prediction, i, j, delta)
            losses, seconds, thirds = 0.0, 0.0, 0.0
            for j in range(x.shape[1]):
                losses, seconds, thirds = losses + terms[0, j], seconds + terms[1, j], thirds + terms[2, j]
            store(rows, i, (losses, seconds, thirds), i < counters[VALID], x.shape[1])

    @forward("cpu", over="x", writes="prediction", phases="predict")
    def answer_cpu(start, stop, x, prediction):
        for i in range(start, stop):
            prediction[i] = answer(x[i])

    @forward("cuda", over="x", writes="prediction", phases="predict")
    def answer_cuda(x, prediction):
        i = cuda.grid(1)
        if i < x.size:
            prediction[i] = answer(x[i])

    slopes = d_loss, d_target or minus
    ends = (*row_report.KERNELS, report_cuda, *_gradients_cpu(*slopes), *make_gradients(*slopes))
    judges = (judge_apart_cpu if vectorised else judge_cpu, make_judge(terms_of, store))
    return (*judges, answer_cpu, answer_cuda, *ends)


def _gradients_cpu(d_loss, d_target):
    """The kernels of both gradients."""
    fill_d_x, fill_d_target = _gradient_cpu(d_loss), _gradient_cpu(d_target)

    @backward("cpu", over="x", axes=0, block=64, writes="d_x", phases="train")
    def d_x_cpu(start, stop, x, target, d_x, counters, weight, delta):
        fill_d_x(start, stop, x, target, d_x, counters[VALID], weight, delta)

    @backward("cpu", over="x", axes=0, block=64, writes="d_target", phases="train")
    def d_target_cpu(start, stop, x, target, d_target, counters, weight, delta):
        fill_d_target(start, stop, x, target, d_target, counters[VALID], weight, delta)

    return d_x_cpu, d_target_cpu


def _gradient_cpu(slope):
    """What fills some rows of a gradient: the mean is over valid rows and their elements."""

    @device
    def element(x, target, i, j, valid, weight, delta):
        return weight * slope(x[i, j], target[i, j], delta) / x.dtype.type(valid * x.shape[1]) if i < valid else 0.0

    @device
    def fill_rows(start, stop, x, target, out, valid, weight, delta):
        for i in range(start, stop):
            for j in range(x.shape[1]):
                out[i, j] = element(x, target, i, j, valid, weight, delta)

    return fill_rows
