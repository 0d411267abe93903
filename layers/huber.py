"""Huber's cost: squared near the target, straight far from it (Huber 1964)."""

from netspec.layers._target_cost import WEIGHT, TargetCost, kernels_of
from netspec.plugin import device, number, register


@device
def huber(x, target, delta):
    """Of one element."""
    apart = abs(x - target)
    return 0.5 * apart * apart if apart < delta else delta * (apart - 0.5 * delta)


@device
def slope(x, target, delta):
    """The distance, within delta of 0."""
    return min(max(x - target, -delta), delta)


@register("huber")
class Huber(TargetCost):
    """loss = mean(h(x - target)), h(d) = d^2 / 2 where abs(d) < delta, delta * (abs(d) - delta / 2) elsewhere

    As PyTorch's HuberLoss; its SmoothL1Loss is this with ``weight: 1 / delta``. Outputs and reports are those of
    ``mse``.
    """

    attrs = {"delta": number("Distance from which on the cost is straight.", default=1.0, above=0), "weight": WEIGHT}
    kernels = kernels_of(huber, slope)
    examples = (
        {"attrs": {"weight": 0.3, "delta": 0.5}, "inputs": [(5, 7), (5, 7)]},
        {"attrs": {}, "inputs": [(3, 67), (3, 67)]},
    )
