"""Sigmoid and cross-entropy in one layer: several classes at once, or shares, each for itself."""

import math

from netspec.layers._target_cost import WEIGHT, TargetCost, kernels_of
from netspec.plugin import device, register


@device
def probability(x):
    """Of the class."""
    return 1.0 / (1.0 + math.exp(-x))


@device
def entropy(x, target, delta):
    """-target * log(p) - (1 - target) * log(1 - p), without either of them."""
    return max(x, 0.0) - x * target + math.log1p(math.exp(-abs(x)))


@device
def slope(x, target, delta):
    """By the score."""
    return probability(x) - target


@device
def d_target(x, target, delta):
    """By the target."""
    return -x


@register("sigmoid_loss")
class SigmoidLoss(TargetCost):
    """loss = mean(-target * log(p) - (1 - target) * log(1 - p)), p = 1 / (1 + exp(-x))

    Over the batch and the elements of a row, as PyTorch's BCEWithLogitsLoss. Targets are shares in [0, 1]; of several
    classes at once each is 0 or 1. Outputs are ``prediction`` (N, K), p, and ``report``: sums over valid rows of the
    row's loss, of the squared and the absolute distance of p from the target, and of the rows.
    """

    attrs = {"weight": WEIGHT}
    kernels = kernels_of(entropy, slope, d_target, probability, vectorised=True)
    examples = (
        {"attrs": {"weight": 0.3}, "inputs": [(5, 7), (5, 7)]},
        {"attrs": {}, "inputs": [(3, 67), (3, 67)]},
    )

    def onnx(self, nodes, t, x):
        """Sigmoid."""
        return {"prediction": nodes.add("Sigmoid", x)}

    def torch(self, code, t, x):
        """torch.sigmoid."""
        return {"prediction": f"torch.sigmoid({x})"}
