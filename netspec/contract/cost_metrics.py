"""What the sums in a cost layer's report say, by their names: what training reports beside the loss."""

from __future__ import annotations

import math

DISTANCES = ("rmse", "mae")
"""Sums that are distances in the target's units: of squared ones, of which the root of the mean is reported, and of
absolute ones. All others count errors, of which the share of images in [0, 1] is reported."""


def is_distance(name: str) -> bool:
    """Whether an error of that name, or ``layer.name``, is a number in the target's units; else it is a share."""
    return name.rpartition(".")[2] in DISTANCES


def mean_of(name: str, mean: float) -> float:
    """What is reported of a sum over rows divided by their count; nan where there is no such root."""
    return math.sqrt(mean) if name == DISTANCES[0] and mean >= 0 else mean
