"""Smooth exponential decay over the whole run (cuda-convnet2's ``exp``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from netspec.contract.attrs import number
from netspec.schedules._base import Attrs, Progress, Schedule


class Exp(Schedule):
    """rate = factor ** -(share of the run that is done); the number of epochs sets the pace."""

    attrs: ClassVar[Attrs] = {"factor": number("What the rate has been divided by at the end of the run.", minimum=1)}
    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({"factor": 100.0},)

    def rate(self, progress: Progress) -> float:
        """The multiplier at this share of the run."""
        return float(self.settings["factor"] ** -progress.share)
