"""Errors by the rank of the label."""

from __future__ import annotations

from typing import ClassVar

from netspec.metrics._base import Answers, Metric, Sums, Truth


class TopError(Metric):
    """The share of images of which ``rank`` or more other classes are no less probable than the label."""

    answers = "classes"
    rank: ClassVar[int]

    def sums(self, answers: Answers, truth: Truth) -> Sums:
        """Errors and images; ties count as errors."""
        import numpy as np

        own = answers[np.arange(len(truth)), truth][:, None]
        wrong = (answers >= own).sum(axis=1) - 1 >= self.rank
        return np.array([wrong.sum(), len(truth)], np.float64)

    @classmethod
    def tells(cls, classes: int) -> bool:
        """Whether there are more classes than the rank."""
        return classes > cls.rank

    def value(self, sums: Sums) -> float:
        """The share."""
        return float(sums[0] / sums[1])
