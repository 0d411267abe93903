"""Mean squared error: the cost of networks whose answer is numbers instead of a class."""

from netspec.layers._target_cost import WEIGHT, TargetCost, kernels_of, square
from netspec.plugin import device, register


@device
def squared(x, target, delta):
    """Of one element."""
    return square(x, target)


@device
def slope(x, target, delta):
    """By the prediction."""
    return 2.0 * (x - target)


@device
def d_target(x, target, delta):
    """The other way."""
    return 2.0 * (target - x)


@register("mse")
class MeanSquaredError(TargetCost):
    """loss = mean((x - target)^2), over the batch and the elements of a row, as PyTorch's MSELoss has it.

    Both inputs are (N, K). The gradient is that of ``weight`` times the loss: weight * 2 * (x - target) / (N * K).
    Caffe's EuclideanLoss, the sum over elements divided by 2 N, is ``weight: K / 2``.

    Outputs: ``prediction`` (N, K), x as it is; ``report``: sums over valid rows of the row's mean squared error, twice,
    of its mean absolute error, and of the rows themselves, of which training reports the loss, its root (rmse) and the
    mean absolute error (mae), both in the target's units. Without a target (predict) there is only ``prediction``.
    """

    attrs = {"weight": WEIGHT}
    kernels = kernels_of(squared, slope, d_target)
    examples = (
        {"attrs": {"weight": 0.3}, "inputs": [(5, 7), (5, 7)]},
        {"attrs": {}, "inputs": [(3, 1), (3, 1)]},
        {"attrs": {"weight": 2.0}, "inputs": [(3, 67), (3, 67)]},
    )

    def outputs(self, x, target):
        if len(x.shape) != 2:
            raise LayerError(f"predictions must have the shape (batch, numbers), got {x.shape}", "read a dense layer")
        prediction = Tensor(x.shape, x.dtype, differentiable=False)
        if target is None:
            return {"prediction": prediction}
        if target.dtype != "float32":
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
        return row_report.workspace(self, t, direction)

    def flops(self, t):
        return Flops(forward=5 * t.x.size, d_inputs=3 * t.x.size)

    @forward("cpu", over="x", axes=0, block=64, writes=("prediction", "rows"), phases=("train", "eval"))
    def judge_cpu(start, stop, x, target, prediction, rows, counters):
        for i in range(start, stop):
            judge_row(x, target, prediction, rows, i, counters[VALID])

    @forward("cpu", over="x", writes="prediction", phases=("predict",))
    def prediction_cpu(start, stop, x, prediction):
        prediction[start:stop] = x[start:stop]

    @backward("cpu", over="x", axes=0, block=64, writes="d_x", phases=("train",))
    def backward_cpu(start, stop, x, target, d_x, counters, weight):
        for i in range(start, stop):
            gradient_row(x, target, d_x, i, counters[VALID], 2.0 * weight)

    @backward("cpu", over="x", axes=0, block=64, writes="d_target", phases=("train",))
    def target_cpu(start, stop, x, target, d_target, counters, weight):
        for i in range(start, stop):
            gradient_row(x, target, d_target, i, counters[VALID], -2.0 * weight)
