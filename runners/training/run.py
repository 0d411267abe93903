"""A run whose parts are open: it trains, saves, and tells and records how it ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from netspec._types import RunResult
from netspec._version import __version__
from netspec.data.dataset import Dataset
from netspec.data.pipeline import Pipeline
from netspec.data.resident import ResidentPipeline
from netspec.errors import NetspecError
from netspec.events import RunFinished
from netspec.machine.atomic_files import write_text
from netspec.registry import Plugin
from netspec.rundir.directory import BROKEN, RunDirectory
from netspec.rundir.rank_log import RankLog
from netspec.runners.execution.replay import explain
from netspec.runners.execution.session import Session
from netspec.runners.execution.trace import Trace
from netspec.runners.training.advice import Advice
from netspec.runners.training.agreement import Agreement
from netspec.runners.training.checkpoint import Record
from netspec.runners.training.journal import Journal
from netspec.runners.training.loop import Hooks, State, TrainingLoop
from netspec.runners.training.prefetch import Batches, TracedBatches
from netspec.runners.training.request import Request, Settled
from netspec.runners.training.saver import NoSaver, Saver
from netspec.runners.training.shared_batches import SharedBatches, Unread
from netspec.runners.training.signals import Interrupts
from netspec.schedules import make_schedule
from netspec.spec import canonical
from netspec.units import many

AnyPipeline = Pipeline | ResidentPipeline | Unread


@dataclass(slots=True)
class Data:
    """The images of a run, and what tells them from others (see resume.fingerprint).

    ``held`` has all images of a network input, uint8 (M, H, W, C), until the devices hold them; see ``resident``.
    """

    source: Dataset
    train: AnyPipeline
    val: AnyPipeline | None
    fingerprint: Mapping[str, Any]
    held: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)

    @property
    def broken(self) -> list[str]:
        """Split, name and reason of each image that could not be read."""
        pipelines = {"train": self.train, "val": self.val}
        read = {split: pipeline.broken for split, pipeline in pipelines.items() if pipeline}
        return [f"{split}: {name}: {reason}" for split, found in read.items() for name, reason in found]

    def read_ahead(self) -> None:
        """Have the first images of an evaluation read."""
        if isinstance(self.val, Pipeline):
            self.val.epoch(0)

    def close(self) -> None:
        """Stop the workers."""
        self.train.close()
        if self.val:
            self.val.close()


class MadeBy(NamedTuple):
    """What decides a run beside its spec and its data; see Record."""

    plugins: tuple[Plugin, ...]
    environment: Mapping[str, str]
    tuned: Mapping[str, str]
    init_from: Mapping[str, Any] = {}


@dataclass(slots=True)
class Run:
    """All that a run consists of."""

    settled: Settled
    folder: RunDirectory | RankLog
    journal: Journal
    session: Session
    data: Data
    saver: Saver | NoSaver
    state: State
    made_by: MadeBy
    request: Request
    trace: Trace | None = None
    agreement: Agreement = field(init=False)

    def train(self) -> RunResult:
        """Train to the end, and have the end told and recorded whatever it is."""
        began = time.perf_counter()
        with Interrupts() as interrupts:
            self.agreement = Agreement(self.session.crew, interrupts, self.session.answering)
            loop = self._loop(self.agreement)
            try:
                self.journal.note(interrupts.advice())
                self.journal(loop.started(str(self.folder.path)))
                status = loop.run()
                self._tell_broken(self.session.transport.gather(self.data.broken))
                return self._finish(loop, status, began, self.agreement.exit_code if status == "interrupted" else 0)
            except KeyboardInterrupt as error:
                self._end("interrupted", loop, str(error) or "KeyboardInterrupt", began)
                raise
            except NetspecError as error:
                self._settle()
                between = "\n" if "\n" in str(error) else "; "
                told = NetspecError(f"{error}{between}{self._advice().go_on()}")
                self._end("failed", loop, str(told), began)
                raise told from error
            except BaseException as error:
                self._settle()
                self._end("failed", loop, f"{type(error).__name__}: {error}", began)
                raise

    def _loop(self, agreement: Agreement) -> TrainingLoop:
        spec, data = self.settled.spec, self.data
        train = self._traced(data.train, "training")
        val = self._traced(data.val, "validation") if data.val else None
        replayed = agreement.explain(partial(explain, self.session))
        told = (self.journal, self.save, self.poll, agreement.stop, replayed)
        rescues = self.session.crew.within.size == 1
        hooks = Hooks(*told, agreement.due, agreement.merged, rescues, data.read_ahead)
        schedule = make_schedule(spec.train.schedule)
        return TrainingLoop(spec, self.session, schedule, train, val, hooks, self.state, self.request.checkpoint_every)

    def _traced(self, pipeline: AnyPipeline, name: str) -> Batches:
        within = self.session.crew.within
        batches = SharedBatches(pipeline, within) if within.size > 1 else pipeline
        return TracedBatches(batches, self.trace, name) if self.trace else batches

    def save(self, state: State | None, wait: bool) -> None:
        """Have a checkpoint written, and wait for it where the training is about to end."""
        if state is not None and not state.position:
            self.agreement.check_same(self.session.store)
        events = [] if state is None else self.saver.save(record_of(self.settled, self.data, self.made_by, state))
        for event in [*events, *(self.saver.wait() if wait else [])]:
            self.journal(event)

    def poll(self) -> None:
        """Tell of a checkpoint that has been written meanwhile, and of the session's news."""
        for event in self.saver.poll():
            self.journal(event)
        for line in (*self.session.news(), *(self.trace.news() if self.trace else ())):
            self.journal.note(line)

    def _finish(self, loop: TrainingLoop, status: Any, began: float, exit_code: int) -> RunResult:
        state, seconds = loop.state, time.perf_counter() - began
        message = loop.why_early() if status == "finished" else ""
        more = {"message": message} if message else {}
        self.folder.record(status, iteration=state.iteration, epoch=state.epoch, errors=dict(loop.errors), **more)
        self.journal(self._finished(status, loop, seconds, loop.errors, message))
        place = (self.folder.path, status, state.iteration, state.epoch)
        return RunResult(*place, loop.errors, seconds, self.saver.last, exit_code)

    def _settle(self) -> None:
        """Wait for a checkpoint that is being written, and tell what is known, as far as a full disk lets one."""
        with contextlib.suppress(Exception):
            for event in self.saver.wait():
                self.journal.last_words(event)
        with contextlib.suppress(Exception):
            self._tell_broken([self.data.broken])

    def _end(self, status: str, loop: TrainingLoop, message: str, began: float) -> None:
        """Tell and record an end that was not to be, as far as a full disk lets one."""
        state, seconds = loop.state, time.perf_counter() - began
        with contextlib.suppress(Exception):
            self.folder.record(status, iteration=state.iteration, epoch=state.epoch, message=message)
        self.journal.last_words(self._finished(status, loop, seconds, {}, message))

    def _finished(
        self, status: str, loop: TrainingLoop, seconds: float, errors: Mapping[str, float], message: str = ""
    ) -> RunFinished:
        """The event of the end, with what to type next."""
        advice, state = self._advice(), loop.state
        folder = str(self.folder.path) if advice.is_there else ""
        commands = advice.commands(status, state.iteration, loop.planned, loop.is_out_of_patience)
        return RunFinished(status, folder, state.iteration, state.epoch, seconds, errors, message, commands)

    def _advice(self) -> Advice:
        devices, validated = self.request.binding.names, self.data.val is not None
        return Advice(self.folder.path, self.settled, devices, validated, self.session.transport.size)

    def _tell_broken(self, found: Sequence[Sequence[str]]) -> None:
        """List the images that could not be read, as the processes have found them."""
        broken = list(dict.fromkeys(line for lines in found for line in lines))
        if broken and self.session.transport.rank == 0:
            write_text(self.folder.path / BROKEN, "".join(f"{line}\n" for line in broken))
            self.journal.note(f"{many(len(broken), 'image')} could not be read: left out; {BROKEN} lists them")


def record_of(settled: Settled, data: Data, made_by: MadeBy, state: State) -> Record:
    """What a checkpoint says beside its tensors."""
    spec = settled.spec
    return Record(
        iteration=state.iteration,
        epoch=state.epoch,
        position=state.position,
        seed=spec.train.seed,
        batch=spec.train.batch,
        classes=data.source.classes,
        words={name: words for name in data.source.classes if (words := data.source.words.get(name))},
        spec=canonical(spec),
        given=settled.given,
        data=data.fingerprint,
        validation_errors=state.validation_errors,
        evaluated=state.evaluated,
        netspec=__version__,
        **made_by._asdict(),
    )
