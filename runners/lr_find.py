"""The learning-rate range test: a training run at a rate that rises from batch to batch, of which nothing is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from netspec.events import Event, IterationDone, Listener
from netspec.machine.cleanup import on_exit
from netspec.machine.ranks import refuse_several
from netspec.report.rate_range import RateRange
from netspec.runners.execution.replay import explain
from netspec.runners.training.journal import Journal
from netspec.runners.training.loop import Hooks, TrainingLoop
from netspec.runners.training.nonfinite import NotFinite
from netspec.runners.training.opening import begin, begun, open_network
from netspec.runners.training.request import Request
from netspec.runners.training.signals import Interrupts
from netspec.schedules import Factors, Progress, Schedule, make_schedule
from netspec.spec.types import Spec


@dataclass(frozen=True, slots=True)
class Ramp:
    """Rates from ``lowest`` to ``highest``, as many as ``count``, each the same factor above the one before."""

    lowest: float
    highest: float
    count: int

    def rate(self, number: int) -> float:
        """The rate of a batch, counted from 0."""
        return float(self.lowest * (self.highest / self.lowest) ** (number / max(self.count - 1, 1)))


class _Rising(Schedule):
    """The ramp, whatever the spec's own schedule; what that one freezes at first stays frozen."""

    def __init__(self, ramp: Ramp, own: Mapping[str, Any]) -> None:
        super().__init__({})
        self.ramp, self.own = ramp, make_schedule(own)

    def rate(self, progress: Progress) -> float:
        """The rate itself, of a base rate of 1."""
        return self.ramp.rate(progress.iteration)

    def factors(self, progress: Progress) -> Factors:
        """Those of the first iteration."""
        return self.own.factors(replace(progress, iteration=0, epoch=0))


@dataclass(slots=True)
class _Measured:
    """A listener that keeps rates and losses."""

    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        """Keep an iteration's."""
        if isinstance(event, IterationDone):
            self.rates.append(event.learning_rate)
            self.losses.append(event.loss)

    def found(self, ended: str = "", exit_code: int = 0) -> RateRange:
        """What has been measured by now."""
        return RateRange(tuple(self.rates), tuple(self.losses), ended, exit_code)


def find_rates(request: Request, ramp: Ramp, listener: Listener | None) -> RateRange:
    """Train along the ramp until the loss diverges.

    Everything is opened as a run opens it, and refused where a run would be, but no run directory is made. Raises
    NetspecError.
    """
    refuse_several("a learning-rate range test")
    with ExitStack() as stack:
        journal = Journal(listener)
        stack.enter_context(on_exit(journal.close))
        network = open_network(request, journal, stack)
        spec = _until(network.settled.spec, ramp, network.data.train.batches)
        begin(network.session, begun(network))
        measured = _Measured()
        with Interrupts() as interrupts:

            def emit(event: Event) -> None:
                measured(event)
                journal(event)

            def stop() -> bool:
                return bool(interrupts) or measured.found().diverges

            def look(*of: Any) -> str:
                return "" if measured.rates else explain(network.session, *of)

            hooks = Hooks(emit, lambda state, wait: None, lambda: None, stop, look)
            schedule, images = _Rising(ramp, spec.train.schedule), network.data.train
            loop = TrainingLoop(spec, network.session, schedule, images, None, hooks)
            journal(replace(loop.started(""), checkpoint_every=0.0))
            ended = _run(loop, measured)
            return measured.found("it was interrupted" if interrupts else ended, interrupts.exit_code)


def _until(spec: Spec, ramp: Ramp, per_epoch: int) -> Spec:
    """The spec with a base rate of 1, of as many iterations as the ramp has rates."""
    epochs, solver = math.ceil(ramp.count / per_epoch), {**spec.train.solver, "learning_rate": 1.0}
    train = replace(spec.train, iterations=ramp.count, epochs=epochs, solver=solver, scale=None, early_stopping=None)
    return replace(spec, train=train)


def _run(loop: TrainingLoop, measured: _Measured) -> str:
    """Train, and say why it ended. Raises NotFinite where that is so from the first rate on."""
    try:
        return "the loss diverged" if loop.run() == "interrupted" else "that was the highest rate"
    except NotFinite:
        if not measured.rates:
            raise
        return "the loss, or a gradient, was not finite"
