"""Root of the mean squared error, in the target's units."""

from __future__ import annotations

import math

from netspec.metrics.mse import MeanSquaredError


class RootMeanSquaredError(MeanSquaredError):
    """rmse = sqrt(mean of (prediction - target)^2 over images and their numbers)"""

    @classmethod
    def of_report(cls, total: float, count: float) -> float:
        """The root of the mean; of what is not finite, as it is."""
        mean = total / count
        return math.sqrt(mean) if mean >= 0 else mean
