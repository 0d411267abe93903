"""Mean squared error: the cost of networks whose answer is numbers instead of a class."""

from netspec.layers._target_cost import WEIGHT, TargetCost, kernels_of, square
from netspec.plugin import device, register


@device
def slope(x, target, delta):
    """By the prediction."""
    return 2.0 * (x - target)


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
    kernels = kernels_of(square, slope)
    examples = (
        {"attrs": {"weight": 0.3}, "inputs": [(5, 7), (5, 7)]},
        {"attrs": {}, "inputs": [(3, 1), (3, 1)]},
        {"attrs": {"weight": 2.0}, "inputs": [(3, 67), (3, 67)]},
    )
