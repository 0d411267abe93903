"""Drops at epochs written down beforehand, as those recorded for the 2012 runs (25, 51, 79)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from netspec.contract.attrs import number
from netspec.schedules._base import Attrs, Progress, Schedule


class Step(Schedule):
    """rate = factor ** -(number of epochs in ``at`` that are done)"""

    attrs: ClassVar[Attrs] = {
        "at": {
            "type": "array",
            "items": {"type": "integer", "minimum": 1},
            "minItems": 1,
            "description": "Epochs after which the rate is divided.",
        },
        "factor": number("What the rate is divided by at each drop.", default=10.0, minimum=1),
    }
    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({"at": [1, 3]}, {"at": [2], "factor": 2.0})

    def rate(self, progress: Progress) -> float:
        """The multiplier after the drops so far."""
        drops = sum(epoch <= progress.epoch for epoch in self.settings["at"])
        return float(self.settings["factor"] ** -drops)
