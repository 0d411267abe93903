"""The training loop: iterations, evaluations, checkpoints; it knows neither devices nor how images are read.

A run is a function of its spec, its data and its seed. All that it carries from one iteration to the next is the
Session's Store and a ``State``; a checkpoint holds both, so a resumed run goes on bit by bit as if never interrupted.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from netspec import units
from netspec.errors import NetspecError
from netspec.events import EvaluationDone, IterationDone, Listener, RunStarted
from netspec.metrics import decisive, declared, score_of
from netspec.planning.rates import Rates
from netspec.planning.trainable import inputs_read
from netspec.runners.execution.session import Outcome
from netspec.runners.training import nonfinite
from netspec.runners.training.checkpoint import Evaluated
from netspec.runners.training.evaluation import Merged, evaluate, own
from netspec.runners.training.measuring import Measuring
from netspec.runners.training.nonfinite import Explain, NotFinite
from netspec.runners.training.prefetch import Batches, Fetched, InFlight, Prefetcher, SessionLike
from netspec.runners.training.request import CHECKPOINT_EVERY_S
from netspec.runners.training.tally import Tally
from netspec.schedules import Progress, Schedule
from netspec.solvers import make_solver
from netspec.spec.types import Spec

_READ_AHEAD = 4
"""How many iterations before an evaluation its first images are read."""


@dataclass(frozen=True, slots=True)
class State:
    """Where a run stands: finished iterations and epochs, batches done of the epoch in progress, what was measured."""

    iteration: int = 0
    epoch: int = 0
    position: int = 0
    validation_errors: tuple[float, ...] = ()
    evaluated: Evaluated | None = None


class Hooks(NamedTuple):
    """The loop's callbacks: events, checkpoints, and whether to stop.

    ``save`` is given the state (None: it has been saved) and whether the checkpoint must lie on disk when it returns.
    ``poll`` is called after each iteration. ``explain`` looks into an iteration that was not finite. ``agree`` is asked
    at each iteration's end whether it is time for a checkpoint, and told what this process's clock says; from then on
    ``stop`` answers alike in all processes. ``merged`` has all processes' reports of an evaluated batch. ``rescues``:
    a process can save what has been learned when it alone fails. ``read_ahead`` has validation images read, a few
    iterations before they are evaluated.
    """

    emit: Listener
    save: Callable[[State | None, bool], None]
    poll: Callable[[], None]
    stop: Callable[[], bool]
    explain: Explain | None = None
    agree: Callable[[bool], bool] = lambda due: due
    merged: Merged = own
    rescues: bool = True
    read_ahead: Callable[[], None] = lambda: None


class TrainingLoop:
    """Trains a spec from ``state`` on; ``state`` is renewed after each iteration."""

    def __init__(
        self,
        spec: Spec,
        session: SessionLike,
        schedule: Schedule,
        train: Batches,
        validation: Batches | None,
        hooks: Hooks,
        state: State = State(),
        checkpoint_every: float = CHECKPOINT_EVERY_S,
    ) -> None:
        self.spec, self.session, self.schedule = spec, session, schedule
        self.batches, self.validation, self.hooks, self.state = train, validation, hooks, state
        self.names, self.solver = inputs_read(spec)[:2], make_solver(spec.train.solver)
        self.checkpoint_every = checkpoint_every
        self.per_epoch = train.batches
        left = (spec.train.epochs - state.epoch) * self.per_epoch - state.position
        self.planned = state.iteration + max(left, 0)
        self.total = min(self.planned, spec.train.iterations or self.planned)
        self.saved, self.saved_at, self._due = state if state.iteration else None, time.monotonic(), False
        self.measuring = Measuring.of(spec)
        self.errors: Mapping[str, float] = state.evaluated.errors if state.evaluated else {}

    def started(self, folder: str) -> RunStarted:
        """The event of the beginning."""
        train, state = self.spec.train, self.state
        counts = (train.epochs, self.per_epoch, max(self.total, state.iteration), state.iteration, train.batch)
        return RunStarted(self.spec.name, folder, *counts, self.checkpoint_every, self.measuring.declared)

    def run(self) -> Literal["finished", "interrupted"]:
        """Train to the end or until told to stop; a checkpoint of the last state then lies on disk.

        Raises NotFinite when a step or an evaluation is not finite; neither is saved then.
        """
        while not self._complete():
            if self.state.position == self.per_epoch:
                self._end_epoch()
            else:
                self._train_epoch()
            if self.hooks.stop():
                self._save(last=True)
                return "interrupted"
        return self._end()

    def _complete(self) -> bool:
        within = self.state.position < self.per_epoch
        return within and (self.state.iteration >= self.total or (self.is_out_of_patience and not self.state.position))

    @property
    def is_out_of_patience(self) -> bool:
        """Whether early stopping ends the run with this epoch; it knows the validation errors alone."""
        stop = self.spec.train.early_stopping
        return stop is not None and stop.is_over(self.state.validation_errors)

    def why_early(self) -> str:
        """Why the run ended before its last iteration; empty where it did not."""
        stop, errors = self.spec.train.early_stopping, self.state.validation_errors
        if stop is None or self.state.iteration >= self.total or not self.is_out_of_patience:
            return ""
        best, margin = min(errors), f" by more than {stop.min_delta:g}" if stop.min_delta else ""
        name = decisive(self.spec.train.metrics, self.errors)
        measures = declared([name])
        title = measures[name].title
        shown = units.errors({name: -best if measures[name].better == "higher" else best}, measures)
        epoch = len(errors) - errors[::-1].index(best)  # of equals the newest, as the best checkpoint is chosen
        return (
            f"stopped early: no better {title} in validation{margin} in {units.many(stop.patience, 'epoch')}"
            f"; the best is {shown}: eval and predict take the checkpoint after epoch {epoch}"
        )

    def _train_epoch(self) -> None:
        """Iterations to the end of the epoch or of the run, or until told to stop.

        Where devices work ahead, an iteration is told and what else the host has to do is done while the next one runs;
        where they take two, the next one is enqueued before the first has ended.
        """
        prefetcher, began = self._prefetcher(), time.perf_counter()
        under_way: deque[InFlight] = deque()
        while under_way or self._start(prefetcher, under_way):
            following = None if self.state.iteration + 1 >= self.total else prefetcher.prefetch()
            if following and self.session.depth() > 1 and self._goes_on:
                self._start(prefetcher, under_way)
            finished = under_way.popleft()
            outcome, ended = self._finish(finished), time.perf_counter()
            if under_way:
                under_way[0].started = max(under_way[0].started, ended)
            elif following and self._goes_on:
                self._start(prefetcher, under_way)
            finished.fetched.batch.release()
            self._tell_iteration(finished, outcome, following, ended - began)
            began = ended if under_way else time.perf_counter()
            self.hooks.poll()
            if under_way:
                continue
            if self.state.iteration >= self.total or self.hooks.stop():
                prefetcher.release()
                return
            if self._due and self.state.position < self.per_epoch:
                self._save()

    def _prefetcher(self) -> Prefetcher:
        """Over the rest of the epoch's batches."""
        with self._saved_on_error():
            epoch = self.batches.epoch(self.state.epoch, self.state.position)
        return Prefetcher(self.session, epoch, self.names)

    @contextlib.contextmanager
    def _saved_on_error(self) -> Iterator[None]:
        """Save what has been learned when the block, which changes nothing, cannot have its images or its device."""
        try:
            yield
        except NotFinite:
            raise
        except NetspecError:
            with contextlib.suppress(Exception):  # a device that is gone can give nothing, a full disk take nothing
                if self.hooks.rescues:
                    self._save(last=True)
            raise

    def _start(self, prefetcher: Prefetcher, under_way: deque[InFlight]) -> bool:
        """Begin an iteration on the next batch; False at the end of the epoch."""
        with self._saved_on_error():
            fetched = prefetcher.next()
        if fetched:
            number = self.state.iteration + len(under_way)
            under_way.append(prefetcher.start(fetched, number, self._rates(number)))
            evaluated_at = min(self.total, self.state.iteration + self.per_epoch - self.state.position)
            if evaluated_at - number <= _READ_AHEAD:
                self.hooks.read_ahead()
        return fetched is not None

    @property
    def _goes_on(self) -> bool:
        """Whether another iteration may begin before a checkpoint or the end."""
        return not (self._due or self.hooks.stop())

    def _finish(self, in_flight: InFlight) -> Outcome:
        """Wait for the end of an iteration, which then counts. Raises NotFinite where it was not finite."""
        outcome = self.session.finish()
        if not outcome.finite or outcome.overflowed:
            raise self._not_finite(in_flight, outcome)
        self.state = replace(self.state, iteration=self.state.iteration + 1, position=self.state.position + 1)
        self._due = self.hooks.agree(time.monotonic() - self.saved_at >= self.checkpoint_every)
        return outcome

    def _tell_iteration(self, done: InFlight, outcome: Outcome, following: Fetched | None, seconds: float) -> None:
        tally, place = Tally(outcome.reports), (self.state.epoch + 1, self.state.iteration)
        self.errors = self.errors if self.validation else tally.errors
        speed, rate = tally.count / seconds, done.rates.learning_rate
        waited = min(done.idle(following, outcome.seconds) / seconds, 1.0)
        self.hooks.emit(IterationDone(*place, tally.loss, tally.errors, rate, speed, waited, seconds, True))

    def _rates(self, iteration: int) -> Rates:
        """Of an iteration of this epoch."""
        state, solver, ema = self.state, self.solver, self.spec.train.ema
        progress = Progress(iteration, state.epoch, self.per_epoch, self.planned, state.validation_errors)
        scale, base = self.spec.train.scale, solver.learning_rate
        full = base * scale.at(self.spec.train.batch, iteration, self.per_epoch) if scale else base
        rate, factors = full * self.schedule.rate(progress), self.schedule.factors(progress)
        return Rates(rate, solver.numbers, factors, ema.share(iteration) if ema else 0.0)

    def _not_finite(self, in_flight: InFlight, outcome: Outcome) -> NotFinite:
        """What happened and what to do.

        There is no checkpoint of it: the state has not changed, but with it the same batch would fail again, or the
        update has spoilt it. Earlier ones may do.
        """
        place = f"iteration {self.state.iteration + 1:,} (epoch {self.state.epoch + 1})"
        if outcome.overflowed:
            return nonfinite.update(place, outcome.overflowed, in_flight.rates)
        explain, fetched, rates = self.hooks.explain, in_flight.fetched, in_flight.rates
        more = explain(fetched.arrays, self.state.iteration, fetched.batch.valid, rates, "train") if explain else ""
        return nonfinite.step(place, Tally(outcome.reports).loss, rates, more)

    def _end_epoch(self) -> None:
        """Evaluate and save; when told to stop meanwhile, the evaluation stays due."""
        evaluated = self._evaluate(self.state.epoch + 1)
        if self.hooks.stop():
            return
        state = replace(self.state, epoch=self.state.epoch + 1, position=0)
        if evaluated:
            errors = (*state.validation_errors, evaluated.rank)
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
            self.saved, self.saved_at, self._due = self.state, time.monotonic(), False

    def _evaluate(self, epoch: int) -> Evaluated | None:
        """Loss and errors over the validation images; None without any, and when told to stop."""
        if self.validation is None:
            return None
        hooks = self.hooks
        parts = (self.session, self.validation, self.names, hooks.emit, hooks.stop, hooks.explain, hooks.merged)
        try:
            with self._saved_on_error():
                done = evaluate(*parts, self.measuring)
        except NotFinite as error:
            place = f"iteration {self.state.iteration:,} (epoch {epoch})"
            raise nonfinite.evaluation(place, error, self._rates(self.state.iteration)) from error
        if done is None:
            return None
        self.errors, iteration = done.errors, self.state.iteration
        result, broken = (done.loss, done.errors, done.images, done.seconds), len(self.validation.split) - done.images
        more = (broken, done.views, self.measuring.declared)
        self.hooks.emit(EvaluationDone(epoch, iteration, "val", *result, *more))
        score = score_of(decisive(self.spec.train.metrics, done.errors), done.loss, done.errors)
        return Evaluated(iteration, done.loss, done.errors, score)
