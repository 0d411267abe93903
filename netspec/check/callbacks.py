"""The contract suite of callbacks: named checks that each registered one gets, with the events of runs made up."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netspec import events
from netspec.callbacks import Callback
from netspec.check.compare import Failed, Skipped
from netspec.check.declared import check_docs
from netspec.check.setting_schema import check_schema
from netspec.contract.source_place import file_of, raised_at
from netspec.errors import NetspecError


@dataclass(frozen=True)
class CallbackSubject:
    """A registered callback and what its examples make of it."""

    name: str
    cls: type[Callback]

    def hear(self, folder: Path, told: Sequence[Any], iteration: int = 0) -> None:
        """Tell one for each of the examples, in a run's directory of its own below the folder."""
        for number, settings in enumerate(self.cls.examples):
            one = self.cls(settings)
            try:
                one.check()
            except NetspecError as error:
                raise Skipped(f"cannot run here: {error}") from error
            run = folder / str(number)
            run.mkdir(exist_ok=True)
            try:
                one.begin(run, iteration)
                _tell(one, told)
            finally:
                one.close()


@dataclass(frozen=True, slots=True)
class Unheard:
    """An event that this version has not."""

    text: str = "later versions tell more"


def check_run(subject: CallbackSubject) -> None:
    """It takes each event of a run: with validation and without, of classes and of numbers, one that is broken off."""
    with tempfile.TemporaryDirectory() as folder:
        for told in (_told({"top1": 0.5, "top5": 0.1}), _told({"rmse": 0.25}), _told({}), _told({})[:3]):
            subject.hear(Path(folder), told)


def check_resumed(subject: CallbackSubject) -> None:
    """It begins again in the directory that it was in, where fewer iterations may be done than it has heard of."""
    with tempfile.TemporaryDirectory() as folder:
        for iteration in (0, 1, 5):
            subject.hear(Path(folder), _told({"top1": 0.5}, iteration + 1), iteration)


def check_not_finite(subject: CallbackSubject) -> None:
    """It takes losses and errors that are NaN or infinite: runs end with them."""
    with tempfile.TemporaryDirectory() as folder:
        for value in (math.nan, math.inf):
            subject.hear(Path(folder), _told({"top1": value}, loss=value))


def check_later_events(subject: CallbackSubject) -> None:
    """An event of a kind that it does not know is passed over."""
    with tempfile.TemporaryDirectory() as folder:
        subject.hear(Path(folder), [Unheard()])


def check_unchanged(subject: CallbackSubject) -> None:
    """Events are as they were: others hear them too."""
    told = _told({"top1": 0.5})
    before = copy.deepcopy(told)
    with tempfile.TemporaryDirectory() as folder:
        subject.hear(Path(folder), told)
    for new, old in zip(told, before, strict=True):
        if new != old:
            raise Failed(f"it changes an event: {new}")


def check_closed(subject: CallbackSubject) -> None:
    """It can be closed whatever came before: nothing, or a beginning alone."""
    for settings in subject.cls.examples:
        subject.cls(settings).close()
    with tempfile.TemporaryDirectory() as folder:
        subject.hear(Path(folder), [])


CHECKS: tuple[Callable[[Any], None], ...] = (
    check_docs,
    check_schema,
    check_run,
    check_resumed,
    check_not_finite,
    check_later_events,
    check_unchanged,
    check_closed,
)
"""All checks. Each returns, or raises Failed or Skipped with the reason."""


def _tell(one: Callback, told: Sequence[Any]) -> None:
    for event in told:
        try:
            one(event)
        except Exception as error:
            where = raised_at(error, file_of(type(one)))
            raise Failed(f"{where and f'{where}: '}{type(error).__name__} at {event}: {error}") from error


def _told(errors: dict[str, float], first: int = 1, loss: float = 1.5) -> list[Any]:
    """The events of a run of two iterations, each with a map of errors of its own."""
    done = [
        events.IterationDone(1, first + number, loss, dict(errors), 0.01, 1000.0, 0.25, 0.1, math.isfinite(loss))
        for number in range(2)
    ]
    return [
        events.Note("a line for people"),
        events.RunStarted("net", "runs/net/now", 1, 2, first + 1, first - 1, 8, 600.0),
        done[0],
        events.TaskProgress("compiling kernels", 1, 2, over=True),
        done[1],
        events.EvaluationProgress(4, 8),
        events.EvaluationDone(1, first + 1, "val", loss, dict(errors), 8, 0.5),
        events.CheckpointWritten("runs/net/now/checkpoints/x.safetensors", first + 1, 1000, 0.1, best=True),
        events.RunFinished("finished", "runs/net/now", first + 1, 1, 2.0, dict(errors)),
    ]
