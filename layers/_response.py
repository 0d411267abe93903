"""What both response normalisations share: the power of the scale and the constants of the formula."""

import math
from collections.abc import Mapping

from netspec.plugin import choice, device, integer, number

ATTRS = {
    "size": integer("Channels, or pixels a side, of the window: centred, clipped at the ends.", default=5, minimum=1),
    "alpha": number("Factor of the sum of squares.", default=1e-4),
    "beta": number("Exponent.", default=0.75),
    "k": number("Constant beside the sum.", default=2.0, above=0),
    "scaling": choice(
        "sum",
        "window",
        default="sum",
        description="Whether alpha multiplies the sum (the paper's formula) or the sum over the window's size.",
    ),
}


@device
def power(scale, beta):
    """scale ** -beta, by square roots alone for the usual 0.75."""
    if beta == 0.75:
        root = math.sqrt(scale)
        return 1.0 / (root * math.sqrt(root))
    return scale**-beta


def constants(attrs, window: int) -> Mapping[str, int | float]:
    """The numbers kernels take: alpha of one term, the gradient's factor, window's reach before and after."""
    per_term = attrs.alpha / (window if attrs.scaling == "window" else 1)
    before = attrs.size // 2
    return {
        "per_term": float(per_term),
        "coupling": float(2 * per_term * attrs.beta),
        "before": before,
        "after": attrs.size - 1 - before,
    }
