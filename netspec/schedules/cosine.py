"""Half a cosine down to the last rate (Loshchilov and Hutter 2017), after a linear warm-up (Goyal et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from netspec.contract.attrs import number
from netspec.schedules._base import Attrs, Progress, Schedule


class Cosine(Schedule):
    """rate = final + (1 - final) (1 + cos(pi t)) / 2, t from 0 after the warm-up to 1 at the end of the run

    Within ``warmup`` epochs the rate rises evenly from ``start`` to 1, a step each iteration. Without restarts and
    warm-up it is torch.optim.lr_scheduler.CosineAnnealingLR.
    """

    attrs: ClassVar[Attrs] = {
        "final": number("Factor at the end of the run.", default=0.0, minimum=0, maximum=1),
        "warmup": number("Epochs, or parts of one, in which the rate rises.", default=0.0, minimum=0),
        "start": number("Factor at the beginning of the warm-up.", default=0.1, minimum=0, maximum=1),
    }
    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({}, {"warmup": 1.5, "final": 0.1}, {"warmup": 100.0})

    @property
    def warms_up(self) -> bool:
        """Where there are epochs to do so."""
        return bool(self.settings["warmup"])

    def rate(self, progress: Progress) -> float:
        """The multiplier at this iteration."""
        final, start, warmup = (float(self.settings[name]) for name in ("final", "start", "warmup"))
        warm, done = warmup * progress.iterations_per_epoch, progress.iteration
        if done < warm:
            return start + (1.0 - start) * done / warm
        t = min((done - warm) / max(progress.total_iterations - warm, 1.0), 1.0)
        return final + (1.0 - final) * (1.0 + math.cos(math.pi * t)) / 2.0
