"""How long a training would take here, from a few seconds of it."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace

from netspec._types import Binding
from netspec.data.pipeline import Pipeline
from netspec.errors import NetspecError
from netspec.events import EvaluationProgress, Event, IterationDone, Listener
from netspec.machine.cleanup import on_exit
from netspec.planning import check
from netspec.planning.trainable import inputs_read
from netspec.program import memory
from netspec.runners.execution.session import Session, check_binding
from netspec.runners.training.evaluation import evaluate
from netspec.runners.training.follow_data import open_images
from netspec.runners.training.journal import Journal
from netspec.runners.training.launch import open_data
from netspec.runners.training.loop import Hooks, TrainingLoop
from netspec.runners.training.run import Data
from netspec.runners.training.saver import KEEP
from netspec.schedules import make_schedule
from netspec.spec.types import Spec

_WARM_UP, _LEAST = 2, 3
"""Iterations that are not counted, since caches and workers fill, and how many are counted at least."""
_STILL = 1e-9
"""A learning rate by which the parameters stay as they are: a network that nobody trains long cannot diverge."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a training takes: rates in images a second, times in seconds, sizes in bytes.

    ``spread`` is the interquartile range of an iteration's time as a share of its median; ``waiting`` the share of the
    time in which data kept the devices waiting. ``memory`` is what is allocated on each of the spec's devices, beside
    some 200 MiB of the program itself. ``where`` says which images were read.
    """

    name: str
    devices: tuple[str, ...]
    batch: int
    iterations: int
    rate: float
    spread: float
    waiting: float
    eval_rate: float
    images: int
    val_images: int
    epochs: int
    where: str
    memory: dict[str, int]
    checkpoint: int
    tuned: bool
    dearest: tuple[tuple[str, float], ...]

    @property
    def training(self) -> float:
        """Seconds of training proper."""
        return self.epochs * (self.images - self.images % self.batch) / self.rate

    @property
    def evaluation(self) -> float:
        """Seconds of the evaluations after each epoch."""
        return self.epochs * self.val_images / self.eval_rate if self.eval_rate else 0.0

    @property
    def seconds(self) -> float:
        """Both."""
        return self.training + self.evaluation

    @property
    def disk(self) -> int:
        """Bytes of checkpoints that are kept: the newest and the best."""
        return (KEEP + 1) * self.checkpoint


def estimate(
    spec: Spec,
    own: bool,
    binding: Binding,
    seconds: float,
    images: int | None = None,
    val_images: int | None = None,
    workers: int | None = None,
    listener: Listener | None = None,
) -> Estimate:
    """Train and evaluate for some seconds each, and reckon from that.

    ``own``: the images were named beside the spec, see ``open_images``. ``images`` and ``val_images`` say how many
    there will be; without them it is those of the spec's source. Nothing is written. Raises NetspecError and SpecError
    as a run would.
    """
    check_binding(spec, binding.names, binding.runner)
    journal = Journal(listener)
    for note in check(spec):
        journal.note(note)
    opened = open_images(spec, own)
    for note in opened.notes:
        journal.note(note)
    train = opened.spec.train
    still = replace(opened.spec, train=replace(train, sgd=replace(train.sgd, learning_rate=_STILL), iterations=None))
    with ExitStack() as stack:
        data = open_data(still, opened.source, workers, journal, None)
        stack.enter_context(on_exit(data.close))
        session = stack.enter_context(Session(still, binding.names, runner=binding.runner))
        for note in session.notes:
            journal.note(note)
        told = _train(still, session, data, seconds)
        eval_rate = _evaluate(still, session, data.val, seconds / 2) if data.val else 0.0
        kept = [done.seconds for done in told[_WARM_UP:]]
        low, middle, high = statistics.quantiles(kept, n=4) if len(kept) > 1 else (kept[0],) * 3
        val = len(data.val.split) if data.val else 0
        return Estimate(
            name=spec.name,
            devices=tuple(device.name for device in session.devices.values()),
            batch=spec.train.batch,
            iterations=len(kept),
            rate=spec.train.batch / middle,
            spread=(high - low) / middle,
            waiting=statistics.fmean(done.waited for done in told[_WARM_UP:]),
            eval_rate=eval_rate,
            images=images or len(data.train.split),
            val_images=val if val_images is None else val_images,
            epochs=spec.train.epochs,
            where=data.source.where,
            memory={name: row["total"] for name, row in memory(session.programs.values()).items()},
            checkpoint=sum(array.nbytes for array in session.store.tensors().values()),
            tuned=bool(session.tuned),
            dearest=_dearest(session),
        )


def _train(spec: Spec, session: Session, data: Data, seconds: float) -> list[IterationDone]:
    """Iterations as a run makes them, until the seconds have passed."""
    told: list[IterationDone] = []
    until: list[float] = []

    def emit(event: Event) -> None:
        if isinstance(event, IterationDone):
            told.append(event)
            if len(told) == _WARM_UP:
                until.append(time.monotonic() + seconds)

    def stop() -> bool:
        return bool(until) and len(told) >= _WARM_UP + _LEAST and time.monotonic() >= until[0]

    hooks = Hooks(emit, lambda state, wait: None, lambda: None, stop, None)
    endless = replace(spec, train=replace(spec.train, epochs=10**6))
    TrainingLoop(endless, session, make_schedule(spec.train.schedule), data.train, None, hooks).run()
    return told


def _evaluate(spec: Spec, session: Session, images: Pipeline, seconds: float) -> float:
    """Images a second of an evaluation, from its first batches."""
    seen: list[tuple[float, int]] = []
    until = time.monotonic() + seconds

    def emit(event: Event) -> None:
        if isinstance(event, EvaluationProgress):
            seen.append((time.monotonic(), event.images))

    began = time.monotonic()
    evaluate(session, images, inputs_read(spec)[:2], emit, lambda: time.monotonic() > until and len(seen) > _LEAST)
    if not seen:
        raise NetspecError("no image could be evaluated")
    if len(seen) == 1:
        return seen[0][1] / (seen[0][0] - began)
    return (seen[-1][1] - seen[0][1]) / max(seen[-1][0] - seen[0][0], 1e-9) or seen[-1][1] / (seen[-1][0] - began)


def _dearest(session: Session) -> tuple[tuple[str, float], ...]:
    """The layers with most operations in training, and their shares."""
    counts: dict[str, int] = {}
    for step in session.plans["train"].steps:
        if step.layer and step.op in ("forward", "backward"):
            counts[step.layer] = counts.get(step.layer, 0) + step.flops
    total = sum(counts.values()) or 1
    most = sorted(counts.items(), key=lambda pair: -pair[1])[:3]
    return tuple((name, flops / total) for name, flops in most)
