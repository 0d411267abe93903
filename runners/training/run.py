"""A run that is put together: trains, saves, tells its end."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from netspec._types import RunResult
from netspec._version import __version__
from netspec.errors import NetspecError
from netspec.events import RunFinished
from netspec.machine.atomic_files import write_text
from netspec.machine.names import shell_word
from netspec.rundir.directory import BROKEN, RunDirectory
from netspec.runners.execution.replay import explain
from netspec.runners.execution.session import Session
from netspec.runners.execution.trace import Trace
from netspec.runners.training.checkpoint import Record
from netspec.runners.training.images import Images, traced
from netspec.runners.training.journal import Journal
from netspec.runners.training.loop import Hooks, State, Training
from netspec.runners.training.request import Settled
from netspec.runners.training.saver import Saver, listed
from netspec.runners.training.signals import Interrupts
from netspec.schedules import make_schedule
from netspec.spec import canonical


@dataclass(slots=True)
class Run:
    """Everything a run consists of."""

    settled: Settled
    folder: RunDirectory
    journal: Journal
    session: Session
    data: Images
    saver: Saver
    state: State
    checkpoint_every: float
    trace: Trace | None = None

    def train(self) -> RunResult:
        """Train to the end, and have the end told and recorded whatever it is."""
        began = time.perf_counter()
        with Interrupts() as interrupts:
            training = self._training(interrupts)
            try:
                self.journal.note(interrupts.advice())
                self.journal(training.started(str(self.folder.path)))
                status = training.run()
                self._tell_broken()
                return self._finish(training, status, began, interrupts.exit_code if status == "interrupted" else 0)
            except KeyboardInterrupt as error:
                self._end("interrupted", training, str(error) or "KeyboardInterrupt", began)
                raise
            except NetspecError as error:
                told = NetspecError(f"{error}; {self._what_is_left()}")
                self._end("failed", training, str(told), began)
                raise told from error
            except BaseException as error:
                self._what_is_left()
                self._end("failed", training, f"{type(error).__name__}: {error}", began)
                raise

    def _training(self, interrupts: Interrupts) -> Training:
        spec, data = self.settled.spec, self.data
        train = traced(data.train, self.trace, "training")
        val = traced(data.val, self.trace, "validation") if data.val else None
        look = partial(explain, self.session)
        hooks = Hooks(self.journal, self.save, self.attend, lambda: bool(interrupts), look)
        schedule = make_schedule(spec.train.schedule)
        return Training(spec, self.session, schedule, train, val, hooks, self.state, self.checkpoint_every)

    def save(self, state: State | None, wait: bool) -> None:
        """Have a checkpoint written, and wait for it where the training is about to end."""
        events = [] if state is None else self.saver.save(record_of(self.settled, self.data, self.session, state))
        for event in [*events, *(self.saver.wait() if wait else [])]:
            self.journal(event)

    def attend(self) -> None:
        """Tell of a checkpoint that has come to lie on disk, and of what has come up in the session."""
        for event in self.saver.poll():
            self.journal(event)
        for line in (*self.session.news(), *(self.trace.news() if self.trace else ())):
            self.journal.note(line)

    def _finish(self, training: Training, status: Any, began: float, exit_code: int) -> RunResult:
        state, seconds = training.state, time.perf_counter() - began
        place = (self.folder.path, state.iteration, state.epoch)
        self.folder.record(status, iteration=state.iteration, epoch=state.epoch, errors=dict(training.errors))
        self.journal(RunFinished(status, str(place[0]), *place[1:], seconds, training.errors))
        return RunResult(place[0], status, *place[1:], training.errors, seconds, self.saver.last, exit_code)

    def _what_is_left(self) -> str:
        """Which checkpoint to go on from, in a clause; one that is being written has come to lie when this returns."""
        with contextlib.suppress(Exception):
            for event in self.saver.wait():
                self.journal.last_words(event)
        with contextlib.suppress(Exception):
            self._tell_broken()
        newest = next(iter(listed(self.folder.checkpoints)), None)
        command = f"netspec run --resume {shell_word(self.folder.path)}"
        if newest is None:
            return f"there is no checkpoint yet: {command} starts again"
        return f"the last whole checkpoint is {newest.name}: go on from it with {command}"

    def _end(self, status: str, training: Training, message: str, began: float) -> None:
        """Tell and record an end that was not to be, as far as a full disk lets one."""
        state = training.state
        with contextlib.suppress(Exception):
            self.folder.record(status, iteration=state.iteration, epoch=state.epoch, message=message)
        seconds = time.perf_counter() - began
        self.journal.last_words(
            RunFinished(status, str(self.folder.path), state.iteration, state.epoch, seconds, {}, message)
        )

    def _tell_broken(self) -> None:
        splits = {"train": self.data.train, "val": self.data.val}
        broken = [f"{split}: {name}: {reason}\n" for split, batches in splits.items() if batches
                  for name, reason in batches.broken]  # fmt: skip
        if broken:
            write_text(self.folder.path / BROKEN, "".join(broken))
            self.journal.note(f"{len(broken):,} images could not be read and were left out; {BROKEN} lists them")


def record_of(settled: Settled, data: Images, session: Session, state: State) -> Record:
    """What a checkpoint says beside its tensors."""
    spec = settled.spec
    return Record(
        iteration=state.iteration,
        epoch=state.epoch,
        position=state.position,
        seed=spec.train.seed,
        batch=spec.train.batch,
        classes=data.source.classes,
        spec=canonical(spec),
        given=settled.given,
        data=data.prints,
        validation_errors=state.validation_errors,
        evaluated=state.evaluated,
        netspec=__version__,
        tuned=session.tuned,
    )
