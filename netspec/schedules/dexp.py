"""Exponential decay in equal stairs over the run (cuda-convnet2's ``dexp``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from netspec.contract.attrs import integer, number
from netspec.schedules._base import Attrs, Progress, Schedule


class Dexp(Schedule):
    """rate = factor ** -(stair / (steps - 1)), stair = floor(steps * share of the run that is done).

    cuda-convnet2 writes ``dexp[base=0.01;tgtFactor=250;numSteps=4]``: 0.01, 0.00159, 0.000252, 0.00004, each for a
    quarter of the run. With one step the whole run has the last rate, as there.
    """

    attrs: ClassVar[Attrs] = {
        "factor": number("What the rate is divided by in the last stair (tgtFactor).", minimum=1),
        "steps": integer("Number of stairs (numSteps).", minimum=1),
    }
    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({"factor": 250.0, "steps": 4}, {"factor": 10.0, "steps": 1})

    def rate(self, progress: Progress) -> float:
        """The multiplier of the stair that the run has reached."""
        steps = self.settings["steps"]
        stair = min(int(steps * progress.iteration / max(progress.total_iterations, 1)), steps - 1)
        fall = stair / (steps - 1) if steps > 1 else 1.0
        return float(self.settings["factor"] ** -fall)
