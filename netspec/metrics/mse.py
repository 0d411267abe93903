"""Mean squared error, in the square of the target's units."""

from __future__ import annotations

from netspec.metrics._base import Sums
from netspec.metrics._row_means import RowMeans


class MeanSquaredError(RowMeans):
    """mse = mean of (prediction - target)^2 over images and their numbers"""

    def of_distance(self, apart: Sums) -> Sums:
        """(prediction - target)^2"""
        squares: Sums = apart**2
        return squares
