"""One cycle: up to the full rate, then down far below the first (Smith and Topin 2018; PyTorch's OneCycleLR)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from netspec.contract.attrs import number
from netspec.schedules._base import Attrs, Progress, Schedule


class OneCycle(Schedule):
    """rate = along half a cosine from 1 / first to 1 in the share ``rise`` of the run, then to 1 / (first last)

    The rates of torch.optim.lr_scheduler.OneCycleLR with two phases, one an iteration; momentum stays as it is. The
    learning rate of the spec is the highest.
    """

    attrs: ClassVar[Attrs] = {
        "rise": number("Share of the run in which the rate rises (pct_start).", default=0.3, above=0, below=1),
        "first": number("What the rate is divided by at the beginning (div_factor).", default=25.0, minimum=1),
        "last": number("What the first rate is divided by at the end (final_div_factor).", default=1e4, minimum=1),
    }
    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({}, {"rise": 0.01, "first": 1.0})

    @property
    def warms_up(self) -> bool:
        """It begins with that."""
        return True

    def rate(self, progress: Progress) -> float:
        """The multiplier at this iteration."""
        first = 1.0 / self.settings["first"]
        end, done = progress.total_iterations - 1, progress.iteration
        top = self.settings["rise"] * progress.total_iterations - 1.0
        if done <= top:
            return _between(first, 1.0, done / top if top else 1.0)
        return _between(1.0, first / self.settings["last"], min((done - top) / max(end - top, 1e-9), 1.0))


def _between(begin: float, end: float, share: float) -> float:
    return end + (begin - end) * (1.0 + math.cos(math.pi * share)) / 2.0
