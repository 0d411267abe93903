"""What both directions compute."""

import math

from netspec.plugin import device


@device
def root(x, b):
    """The square root of x^2 + b."""
    return math.sqrt(x * x + b)
