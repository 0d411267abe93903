"""The paper's rule: divide when the validation error stops improving, at most three times (section 5)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from netspec.contract.attrs import integer, number
from netspec.schedules._base import Attrs, Progress, Schedule


class Plateau(Schedule):
    """rate = factor ** -drops; a drop comes after ``patience`` epochs without a new best validation error.

    The paper says when, not how long to wait; its runs dropped near epochs 25, 51 and 79.
    """

    attrs: ClassVar[Attrs] = {
        "factor": number("What the rate is divided by at each drop.", default=10.0, minimum=1),
        "patience": integer("Epochs without a better error before a drop.", default=5, minimum=1),
        "threshold": number("By how much an error must be better to count.", default=0.0, minimum=0),
        "times": integer("Number of drops at most.", default=3, minimum=1),
    }
    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({}, {"patience": 1, "times": 2})
    needs_validation = True

    def rate(self, progress: Progress) -> float:
        """The multiplier that the validation errors so far lead to."""
        best, waited, drops = math.inf, 0, 0
        for error in progress.validation_errors:
            better = error < best - self.settings["threshold"]
            best, waited = (error, 0) if better else (best, waited + 1)
            if waited == self.settings["patience"] and drops < self.settings["times"]:
                drops, waited = drops + 1, 0
        return float(self.settings["factor"] ** -drops)
