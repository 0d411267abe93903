"""Means over images of what each of them is off by."""

from __future__ import annotations

from abc import ABC, abstractmethod

from netspec.metrics._base import Answers, Metric, Sums, Truth


class RowMeans(Metric, ABC):
    """The mean over images and their K numbers of a function of how far a prediction is from its target."""

    answers = "numbers"
    unit = ""

    def sums(self, answers: Answers, truth: Truth) -> Sums:
        """The sum over images of the mean over their numbers, and the images."""
        import numpy as np

        apart: Sums = answers.astype(np.float64) - truth
        return np.array([self.of_distance(apart).mean(axis=1).sum(), len(truth)])

    @abstractmethod
    def of_distance(self, apart: Sums) -> Sums:
        """What is averaged, of prediction - target."""

    def value(self, sums: Sums) -> float:
        """As of a cost layer's report."""
        return self.of_report(float(sums[0]), float(sums[1]))
