"""Hinge loss, the cost of support vector machines (Cortes and Vapnik 1995): scores beyond the margin cost nothing."""

from netspec.layers._target_cost import WEIGHT, TargetCost, kernels_of
from netspec.plugin import device, register


@device
def short_of(x, target, delta):
    """By how much a score falls short of the margin."""
    return max(1.0 - target * x, 0.0)


@device
def share(short, factor):
    """The factor where a score falls short, else 0; of NaN NaN."""
    return factor if short > 0 else short


@device
def slope(x, target, delta):
    """By the score."""
    return share(short_of(x, target, delta), -target)


@device
def d_target(x, target, delta):
    """By the target."""
    return share(short_of(x, target, delta), -x)


@register("hinge")
class Hinge(TargetCost):
    """loss = mean(max(1 - target * x, 0)), over the batch and the elements of a row

    Targets are 1 or -1, each for itself: one number for two classes, or one for each class against the others (Tang
    2013, Deep Learning using Linear Support Vector Machines). Outputs and reports are those of ``mse``.
    """

    attrs = {"weight": WEIGHT}
    kinks = "where target * prediction is 1"
    kernels = kernels_of(short_of, slope, d_target)
    examples = (
        {"attrs": {"weight": 0.3}, "inputs": [(5, 7), (5, 7)]},
        {"attrs": {}, "inputs": [(3, 67), (3, 67)]},
    )
