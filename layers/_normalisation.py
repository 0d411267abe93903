"""What both response normalisations share: attributes, the constants of the formula and its power."""

import math
from typing import NamedTuple

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


class Response(NamedTuple):
    """The window's reach before and after its centre; k, alpha of one term, the gradient's factor and beta."""

    before: int
    after: int
    k: float
    per_term: float
    coupling: float
    beta: float


def response_of(attrs, window: int) -> Response:
    """The constants for windows of so many places."""
    per_term = attrs.alpha / (window if attrs.scaling == "window" else 1)
    before, constants = attrs.size // 2, (attrs.k, per_term, 2 * per_term * attrs.beta, attrs.beta)
    return Response(before, attrs.size - 1 - before, *map(float, constants))


def onnx_response(nodes, x, sums, response, window: int):
    """x / (k + alpha * sums) ** beta, where ``sums`` are averages over windows of so many places."""
    scaled = nodes.add("Mul", sums, nodes.constant(response.per_term * window, "alpha"))
    scale = nodes.add("Add", scaled, nodes.constant(response.k, "k"))
    return nodes.add("Div", x, nodes.add("Pow", scale, nodes.constant(response.beta, "beta")))


@device
def power(scale, beta):
    """scale ** -beta, by square roots alone for the usual 0.75."""
    if beta == 0.75:
        root = math.sqrt(scale)
        return 1.0 / (root * math.sqrt(root))
    return scale**-beta


@device
def scale_of(total, response):
    """k + alpha * a sum of squares."""
    return response.k + response.per_term * total
