"""Mean absolute error: the cost whose best answer is the median, which a few wild targets do not move."""

from netspec.layers._target_cost import WEIGHT, TargetCost, distance, kernels_of
from netspec.plugin import device, register


@device
def slope(x, target, delta):
    """The sign of the distance; of none 0, of NaN NaN."""
    apart = x - target
    return 1.0 if apart > 0 else (-1.0 if apart < 0 else apart)


@register("l1")
class AbsoluteError(TargetCost):
    """loss = mean(abs(x - target)), over the batch and the elements of a row, as PyTorch's L1Loss has it.

    Outputs and reports are those of ``mse``.
    """

    attrs = {"weight": WEIGHT}
    kinks = "where prediction and target are equal"
    kernels = kernels_of(distance, slope)
    examples = (
        {"attrs": {"weight": 0.3}, "inputs": [(5, 7), (5, 7)]},
        {"attrs": {}, "inputs": [(3, 67), (3, 67)]},
    )
