"""The training loop: iterations, evaluations, checkpoints; it knows neither devices nor how images are read.

A run is a function of its spec, its data and its seed. All that it carries from one iteration to the next is the
Session's Store and a ``State``; a checkpoint holds both, so a resumed run goes on bit by bit as if never interrupted.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

from netspec.errors import NetspecError
from netspec.events import EvaluationDone, EvaluationProgress, IterationDone, Listener, RunStarted
from netspec.runners.execution.session import NO_RATES, Outcome, Rates
from netspec.runners.training import nonfinite
from netspec.runners.training.checkpoint import Evaluated
from netspec.runners.training.nonfinite import Explain, NotFinite
from netspec.runners.training.prefetch import Ahead, Batches, Flight, Taken, Trainer
from netspec.runners.training.tally import Tally
from netspec.schedules import Progress, Schedule
from netspec.spec.types import Spec

CHECKPOINT_EVERY_S = 600.0
"""Seconds between checkpoints inside an epoch; each epoch's end has one besides."""
_SHOW_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class State:
    """Where a run stands: finished iterations and epochs, batches done of the epoch in progress, what was measured."""

    iteration: int = 0
    epoch: int = 0
    position: int = 0
    validation_errors: tuple[float, ...] = ()
    evaluated: Evaluated | None = None


class Hooks(NamedTuple):
    """What the loop calls: events, checkpoints, and the question whether to stop.

    ``save`` is given the state (None: it has been saved) and whether the checkpoint must lie on disk when it returns.
    ``attend`` is called after each iteration. ``explain`` looks into an iteration that was not finite.
    """

    emit: Listener
    save: Callable[[State | None, bool], None]
    attend: Callable[[], None]
    stop: Callable[[], bool]
    explain: Explain | None = None


class Training:
    """Trains a spec from ``state`` on; ``state`` is renewed after each iteration."""

    def __init__(
        self,
        spec: Spec,
        session: Trainer,
        schedule: Schedule,
        train: Batches,
        validation: Batches | None,
        hooks: Hooks,
        state: State = State(),
        checkpoint_every: float = CHECKPOINT_EVERY_S,
    ) -> None:
        """Raises NetspecError for a schedule that reads validation errors where there is no validation data."""
        check_schedule(schedule, spec, validation is not None)
        self.spec, self.session, self.schedule = spec, session, schedule
        self.batches, self.validation, self.hooks, self.state = train, validation, hooks, state
        self.names = input_names(spec)
        self.checkpoint_every = checkpoint_every
        self.per_epoch = train.batches
        left = (spec.train.epochs - state.epoch) * self.per_epoch - state.position
        self.planned = state.iteration + max(left, 0)
        self.total = min(self.planned, spec.train.iterations or self.planned)
        self.saved, self.saved_at = state if state.iteration else None, time.monotonic()
        self.errors: Mapping[str, float] = state.evaluated.errors if state.evaluated else {}

    def started(self, folder: str) -> RunStarted:
        """The event of the beginning."""
        train, state = self.spec.train, self.state
        counts = (train.epochs, self.per_epoch, max(self.total, state.iteration), state.iteration, train.batch)
        return RunStarted(self.spec.name, folder, *counts, self.checkpoint_every)

    def run(self) -> Literal["finished", "interrupted"]:
        """Train to the end or until told to stop; a checkpoint of the last state then lies on disk.

        Raises NotFinite when a step or an evaluation is not finite; neither is saved then.
        """
        while not self._complete():
            if self.state.position == self.per_epoch:
                self._end_epoch()
            else:
                self._go_on()
            if self.hooks.stop():
                self._save(last=True)
                return "interrupted"
        return self._end()

    def _complete(self) -> bool:
        return self.state.iteration >= self.total and self.state.position < self.per_epoch

    def _go_on(self) -> None:
        """Iterations to the end of the epoch or of the run, or until told to stop.

        Where devices work ahead, an iteration is told and what else the host has to do is done while the next one runs.
        """
        batches, began = self._batches(), time.perf_counter()
        flight: Flight | None = None
        while flight or (flight := self._start(batches)):
            following = None if self.state.iteration + 1 >= self.total else batches.look()
            landed, outcome = flight, self._land(flight)
            ended = time.perf_counter()
            flight = self._start(batches) if following and not (self._is_due() or self.hooks.stop()) else None
            landed.taken.batch.release()
            self._tell_iteration(landed, outcome, following, ended - began)
            began = ended if flight else time.perf_counter()
            self.hooks.attend()
            if flight:
                continue
            if self.state.iteration >= self.total or self.hooks.stop():
                batches.give_back()
                return
            if self._is_due() and self.state.position < self.per_epoch:
                self._save()

    def _is_due(self) -> bool:
        """Whether it is time for a checkpoint inside an epoch."""
        return time.monotonic() - self.saved_at >= self.checkpoint_every

    def _batches(self) -> Ahead:
        """The rest of the epoch's batches."""
        with self._saved_on_error():
            epoch = self.batches.epoch(self.state.epoch, self.state.position)
        return Ahead(self.session, epoch, self.names)

    @contextlib.contextmanager
    def _saved_on_error(self) -> Iterator[None]:
        """Save what has been learned when the block, which changes nothing, cannot have its images or its device."""
        try:
            yield
        except NotFinite:
            raise
        except NetspecError:
            with contextlib.suppress(Exception):  # a device that is gone can give nothing, a full disk take nothing
                self._save(last=True)
            raise

    def _start(self, batches: Ahead) -> Flight | None:
        """Begin an iteration on the next batch; None at the end of the epoch."""
        with self._saved_on_error():
            taken = batches.take()
        return batches.start(taken, self.state.iteration, self._rates()) if taken else None

    def _land(self, flight: Flight) -> Outcome:
        """Wait for the end of an iteration, which then counts. Raises NotFinite where it was not finite."""
        outcome = self.session.finish()
        if not outcome.finite or outcome.overflowed:
            raise self._not_finite(flight, outcome)
        self.state = replace(self.state, iteration=self.state.iteration + 1, position=self.state.position + 1)
        return outcome

    def _tell_iteration(self, flight: Flight, outcome: Outcome, following: Taken | None, seconds: float) -> None:
        tally, place = Tally(outcome.reports), (self.state.epoch + 1, self.state.iteration)
        self.errors = self.errors if self.validation else tally.errors
        speed, rate = flight.taken.batch.valid / seconds, flight.rates.learning_rate
        waited = min(flight.idle(following, outcome.seconds) / seconds, 1.0)
        self.hooks.emit(IterationDone(*place, tally.loss, tally.errors, rate, speed, waited, seconds, True))

    def _rates(self) -> Rates:
        state, sgd = self.state, self.spec.train.sgd
        progress = Progress(state.iteration, state.epoch, self.per_epoch, self.planned, state.validation_errors)
        return Rates(sgd.learning_rate * self.schedule.rate(progress), sgd.momentum, sgd.weight_decay)

    def _not_finite(self, flight: Flight, outcome: Outcome) -> NotFinite:
        """What happened and what to do.

        There is no checkpoint of it: the state has not changed, but with it the same batch would fail again, or the
        update has spoilt it. Earlier ones may do.
        """
        place = f"iteration {self.state.iteration + 1:,} (epoch {self.state.epoch + 1})"
        if outcome.overflowed:
            return nonfinite.update(place, outcome.overflowed, flight.rates)
        explain, taken, rates = self.hooks.explain, flight.taken, flight.rates
        more = explain(taken.arrays, self.state.iteration, taken.batch.valid, rates, "train") if explain else ""
        return nonfinite.step(place, Tally(outcome.reports).loss, rates, more)

    def _end_epoch(self) -> None:
        """Evaluate and save; when told to stop meanwhile, the evaluation stays due."""
        evaluated = self._evaluate(self.state.epoch + 1)
        if self.hooks.stop():
            return
        state = replace(self.state, epoch=self.state.epoch + 1, position=0)
        if evaluated:
            score = evaluated.errors.get("top1", evaluated.loss)
            errors = (*state.validation_errors, score)
            state = replace(state, evaluated=evaluated, validation_errors=errors)
        self.state = state
        if not self._complete():  # else _end saves it
            self._save()

    def _end(self) -> Literal["finished", "interrupted"]:
        """The last evaluation, where the run ends inside an epoch, and the last checkpoint."""
        evaluated, stopped = self.state.evaluated, False
        if not evaluated or evaluated.iteration < self.state.iteration:
            evaluated = self._evaluate(self.state.epoch)
            stopped = evaluated is None and self.hooks.stop()
            self.state = replace(self.state, evaluated=evaluated or self.state.evaluated)
        self._save(last=True)
        return "interrupted" if stopped else "finished"

    def _save(self, last: bool = False) -> None:
        """A checkpoint of the present state, unless there is one already."""
        if self.saved != self.state or last:
            self.hooks.save(self.state if self.saved != self.state else None, last)
            self.saved, self.saved_at = self.state, time.monotonic()

    def _evaluate(self, epoch: int) -> Evaluated | None:
        """Loss and errors over the validation images; None without any, and when told to stop."""
        if self.validation is None:
            return None
        parts = (self.session, self.validation, self.names, self.hooks.emit, self.hooks.stop, self.hooks.explain)
        try:
            with self._saved_on_error():
                done = evaluate(*parts)
        except NotFinite as error:
            place = f"iteration {self.state.iteration:,} (epoch {epoch})"
            raise nonfinite.evaluation(place, error, self._rates()) from error
        if done is None:
            return None
        tally, seconds = done
        errors, iteration = tally.errors, self.state.iteration
        self.errors = errors
        broken = len(self.validation.split) - tally.count
        self.hooks.emit(EvaluationDone(epoch, iteration, "val", tally.loss, errors, tally.count, seconds, broken))
        return Evaluated(iteration, tally.loss, errors)


def evaluate(
    session: Trainer,
    batches: Batches,
    names: tuple[str, str],
    emit: Listener,
    stop: Callable[[], bool],
    explain: Explain | None = None,
) -> tuple[Tally, float] | None:
    """Sums over all batches, each image counted once, and the seconds it took; None when told to stop.

    Raises NotFinite where a sum is not finite, NetspecError where no image can be read.
    """
    began, tally = time.perf_counter(), Tally()
    shown, queue = began, Ahead(session, batches.epoch(0), names, "eval")
    while (taken := queue.take()) is not None:
        if taken.batch.valid:
            queue.start(taken, 0, NO_RATES)
            queue.look()
            reports = session.finish("eval").reports
            nonfinite.check_reports(reports, partial(_explained, explain, taken))
            tally.add(reports)
        taken.batch.release()
        if stop():
            queue.give_back()
            return None
        if time.perf_counter() - shown > _SHOW_EVERY_S:
            shown = time.perf_counter()
            emit(EvaluationProgress(tally.count, len(batches.split)))
    if not tally.count:
        raise nonfinite.none_readable(len(batches.split), batches.broken)
    emit(EvaluationProgress(tally.count, tally.count))
    return tally, time.perf_counter() - began


def _explained(explain: Explain | None, taken: Taken) -> str:
    return explain(taken.arrays, 0, taken.batch.valid, NO_RATES, "eval") if explain else ""


def input_names(spec: Spec) -> tuple[str, str]:
    """The network inputs that take images and labels. Raises NetspecError where there are not one of each."""
    images = [name for name, each in spec.inputs.items() if len(each.shape) == 3]
    labels = [name for name, each in spec.inputs.items() if each.dtype == "int32" and not each.shape]
    if len(images) == 1 and len(labels) == 1 and len(spec.inputs) == 2:
        return images[0], labels[0]
    found = ", ".join(f"{name} {list(each.shape)} {each.dtype}" for name, each in spec.inputs.items())
    raise NetspecError(
        f"{spec.name}: training takes one image input of shape [height, width, channels] and one label input of dtype "
        f"int32 without a shape; the spec has: {found}"
    )


def check_schedule(schedule: Schedule, spec: Spec, validation: bool) -> None:
    """Raise NetspecError for a schedule that cannot run without validation data."""
    if schedule.needs_validation and not validation:
        kind = spec.train.schedule["type"]
        raise NetspecError(
            f"train.schedule: '{kind}' follows the validation error, and there are no validation images; add some, or "
            "choose another schedule (--set train.schedule.type=constant)"
        )
