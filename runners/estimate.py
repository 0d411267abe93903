"""How long a training would take here, from a few seconds of it."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace

from netspec.errors import NetspecError
from netspec.events import EvaluationProgress, Event, IterationDone, Listener
from netspec.machine.cleanup import on_exit
from netspec.machine.ranks import refuse_several
from netspec.machine.tasks import hearing, task
from netspec.planning.trainable import inputs_read
from netspec.program import memory
from netspec.runners.execution.session import Session
from netspec.runners.training.evaluation import evaluate
from netspec.runners.training.journal import Journal
from netspec.runners.training.loop import Hooks, TrainingLoop
from netspec.runners.training.opening import open_network
from netspec.runners.training.prefetch import Batches
from netspec.runners.training.request import Request
from netspec.runners.training.saver import KEEP
from netspec.schedules import make_schedule
from netspec.spec.types import Spec

_WARM_UP, _LEAST = 2, 3
"""Iterations that are not counted, since caches and workers fill, and how many are counted at least."""
_STILL = 1e-9
"""A learning rate by which the parameters stay as they are: a network that nobody trains long cannot diverge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a training takes: rates in images a second, times in seconds, sizes in bytes.

    ``memory`` is what is allocated on each of the spec's devices, beside some 200 MiB of the program itself. ``where``
    says which images are meant, ``dearest`` which layers cost most, each with its share.
    """

    name: str
    devices: tuple[str, ...]
    batch: int
    rate: float
    eval_rate: float
    images: int
    val_images: int
    epochs: int
    where: str
    memory: dict[str, int]
    checkpoint: int
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured(Estimate):
    """An estimate from iterations of this machine; ``dearest`` are shares of the operations.

    ``spread`` is the interquartile range of an iteration's time as a share of its median; ``waiting`` the share of the
    time in which data kept the devices waiting.
    """

    iterations: int
    spread: float
    waiting: float
    tuned: bool


def estimate(
    request: Request,
    seconds: float,
    images: int | None = None,
    val_images: int | None = None,
    listener: Listener | None = None,
) -> Measured:
    """Train and evaluate for some seconds each, and extrapolate from that.

    ``images`` and ``val_images`` say how many there will be; without them it is those of the spec's source. Everything
    is opened as a run opens it, and nothing is written. Raises NetspecError and SpecError as a run would.
    """
    refuse_several("an estimate")
    with ExitStack() as stack:
        journal = Journal(listener)
        stack.enter_context(on_exit(journal.close))
        stack.enter_context(hearing(journal))
        network = open_network(request, journal, stack, begins=False)
        spec, data, session = network.settled.spec, network.data, network.session
        told = _train(spec, session, data.train, seconds)[_WARM_UP:]
        low, middle, high = statistics.quantiles([done.seconds for done in told], n=4)
        val = len(data.val.split) if data.val else 0
        return Measured(
            name=spec.name,
            devices=tuple(device.name for device in session.devices.values()),
            batch=spec.train.batch,
            iterations=len(told),
            rate=spec.train.batch / middle,
            spread=(high - low) / middle,
            waiting=statistics.fmean(done.waited for done in told),
            eval_rate=_evaluate(spec, session, data.val, seconds / 2) if data.val else 0.0,
            images=images or len(data.train.split),
            val_images=val if val_images is None else val_images,
            epochs=spec.train.epochs,
            where=data.source.where,
            memory={name: row["total"] for name, row in memory(session.programs.values()).items()},
            checkpoint=sum(array.nbytes for array in session.store.tensors().values()),
            tuned=bool(session.tuned),
            dearest=_dearest(session),
        )


def _train(spec: Spec, session: Session, images: Batches, seconds: float) -> list[IterationDone]:
    """Iterations as a run makes them, until the seconds have passed; at a rate that changes nothing."""
    told: list[IterationDone] = []
    until: list[float] = []

    def emit(event: Event) -> None:
        if isinstance(event, IterationDone):
            told.append(event)
            tell(1)
            if len(told) == _WARM_UP:
                until.append(time.monotonic() + seconds)

    def stop() -> bool:
        return bool(until) and len(told) >= _WARM_UP + _LEAST and time.monotonic() >= until[0]

    hooks = Hooks(emit, lambda state, wait: None, lambda: None, stop, None)
    solver = {**spec.train.solver, "learning_rate": _STILL}
    train = replace(spec.train, solver=solver, scale=None, iterations=None, epochs=10**6)
    loop = TrainingLoop(replace(spec, train=train), session, make_schedule(spec.train.schedule), images, None, hooks)
    with task("measuring iterations") as tell:
        loop.run()
    return told


def _evaluate(spec: Spec, session: Session, images: Batches, seconds: float) -> float:
    """Images a second of an evaluation, from its first batches."""
    seen: list[tuple[float, int]] = []
    until = time.monotonic() + seconds

    def emit(event: Event) -> None:
        if isinstance(event, EvaluationProgress):
            seen.append((time.monotonic(), event.images))
            tell(1)

    began = time.monotonic()
    with task("measuring batches of an evaluation") as tell:
        evaluate(session, images, inputs_read(spec)[:2], emit, lambda: time.monotonic() > until and len(seen) > _LEAST)
    if not seen:
        raise NetspecError("no image could be evaluated")
    (first, before), (last, images_seen) = seen[0], seen[-1]
    return (images_seen - before) / (last - first) if images_seen > before else images_seen / (last - began)


def _dearest(session: Session) -> tuple[tuple[str, float], ...]:
    """The layers with most operations in training, and their shares."""
    counts: dict[str, int] = {}
    for step in session.plans["train"].steps:
        if step.layer and step.op in ("forward", "backward"):
            counts[step.layer] = counts.get(step.layer, 0) + step.flops
    total = sum(counts.values()) or 1
    most = sorted(counts.items(), key=lambda pair: -pair[1])[:3]
    return tuple((name, flops / total) for name, flops in most)
