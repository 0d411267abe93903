"""Mean absolute error, in the target's units."""

from __future__ import annotations

from netspec.metrics._base import Sums
from netspec.metrics._row_means import RowMeans


class MeanAbsoluteError(RowMeans):
    """mae = mean of abs(prediction - target) over images and their numbers"""

    def of_distance(self, apart: Sums) -> Sums:
        """abs(prediction - target)"""
        return abs(apart)
