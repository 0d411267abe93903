"""Where a run's events go: its metrics file, its log and whoever listens."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from netspec import events, units
from netspec.errors import NetspecError
from netspec.events import Event, Listener
from netspec.machine.cleanup import on_exit
from netspec.measures import NONE, Measures
from netspec.rundir.directory import RunDirectory
from netspec.rundir.json_lines import Lines
from netspec.rundir.metrics import as_line
from netspec.rundir.rank_log import RankLog
from netspec.runners.training.listener_thread import MOST_WAITING, PATIENCE_S, ListenerThread

_LOG_EVERY_S = 10.0


class Journal:
    """A listener that writes down what it hears, and passes it on to others.

    What comes before ``keep_in`` is written when the folder is known. A listener ends the run by raising NetspecError
    or KeyboardInterrupt; one that raises anything else hears no more, and one that does not return is not waited for,
    which is told in a note.
    """

    def __init__(self, listener: Listener | None) -> None:
        self._threads: list[ListenerThread] = []
        self._silent: list[ListenerThread] = []
        self._late: list[ListenerThread] = []
        if listener is not None:
            self.also(listener, "the listener")
        self._folder: RunDirectory | RankLog | None = None
        self._lines: Lines | None = None
        self._early: list[Event] = []
        self._logged_at = 0.0
        self._metrics: Measures = {}

    def keep_in(self, folder: RunDirectory | RankLog) -> None:
        """Write to that run directory from now on, first of all what has been heard."""
        self._folder, self._lines = folder, folder.metrics()
        for event in self._early:
            self._write(event)
        self._early.clear()

    def __call__(self, event: Event) -> None:
        """Write the event down and pass it on. Raises NetspecError when the disk will not take it."""
        if isinstance(event, events.TaskProgress):
            pass
        elif self._folder is None:
            self._early.append(event)
        else:
            self._write(event)
        self._tell(event)

    def also(self, listener: Listener, name: str, end: Callable[[], object] | None = None) -> None:
        """Have one more listener from now on; ``end`` is called when all has been told."""
        self._threads.append(ListenerThread(listener, name, end))

    def note(self, text: str | None) -> None:
        """A line for people, if there is one."""
        if text:
            self(events.Note(text))

    def last_words(self, event: Event) -> None:
        """As a call, but neither a full disk nor a listener matters: something worse is being told."""
        with contextlib.suppress(Exception):
            if self._folder is not None:
                self._write(event)
        for thread in self._threads:
            thread.hear(event)

    def close(self) -> None:
        """Let listeners end and close the metrics file; faults in a listener's code become a RuntimeWarning."""
        with on_exit(self._lines.close if self._lines is not None else lambda: None):
            threads = (*self._threads, *self._silent)
            for thread in threads:
                thread.close()
            for thread in threads:
                if isinstance(thread.trouble, Exception) and not isinstance(thread.trouble, OSError | NetspecError):
                    warnings.warn(_failed(thread), RuntimeWarning, stacklevel=2)

    def _tell(self, event: Event) -> None:
        for thread in self._threads:
            thread.hear(event)
        for thread in tuple(self._threads):
            if thread.trouble is not None:
                self._threads.remove(thread)
                self._silent.append(thread)
                if isinstance(thread.trouble, NetspecError) or not isinstance(thread.trouble, Exception):
                    raise thread.trouble
                self.note(_failed(thread))
            elif thread.late and thread not in self._late:
                self._late.append(thread)
                self.note(
                    f"{thread.name} has not returned from an event for {PATIENCE_S:g} s: training goes on without "
                    f"waiting for it, and keeps the last {MOST_WAITING:,} events for it"
                )

    def _write(self, event: Event) -> None:
        assert self._folder is not None
        if isinstance(event, events.RunStarted):
            self._metrics = event.metrics
        line = as_line(event)
        if line is not None and self._lines is not None:
            self._lines.write(line)
        if isinstance(event, events.IterationDone):
            if time.monotonic() - self._logged_at < _LOG_EVERY_S:
                return
            self._logged_at = time.monotonic()
        text = as_text(event, self._metrics)
        if text:
            self._folder.log(text)


def _failed(thread: ListenerThread) -> str:
    error = thread.trouble
    reason = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
    return f"{thread.name} failed and hears no more: {reason}"


def as_text(event: Event, declared: Measures = NONE) -> str | None:
    """The event in a line for people, ``declared`` saying what is measured; None for those not worth one."""
    match event:
        case events.Note(text):
            return text
        case events.RunStarted():
            done = f", {event.iteration:,} of them done" if event.iteration else ""
            images = units.many(event.batch, "image")
            return f"{event.name}: {units.many(event.total_iterations, 'iteration')} of {images}{done}"
        case events.IterationDone():
            waited, speed = units.percent(event.waited), units.rate(event.images_per_second)
            figures = f"rate {units.significant(event.learning_rate, 3)}, {speed} img/s, waiting for data {waited}"
            return f"{_place(event.epoch, event.iteration)}: {_measured(event.loss, event.errors, declared)}, {figures}"
        case events.EvaluationDone():
            measured = _measured(event.loss, event.errors, event.metrics)
            seen = f"{units.many(event.images, 'image')}, {units.views(event.views)}"
            return f"{_place(event.epoch, event.iteration)}: {event.split}: {measured} ({seen})"
        case events.CheckpointWritten():
            best = ", the best so far" if event.best else ""
            stall = f", training stood still for {units.duration(event.stall)}" if event.stall >= 0.05 else ""
            return f"checkpoint {Path(event.path).name}: {units.size(event.nbytes)}{stall}{best}"
        case events.RunFinished():
            return f"{event.status} at iteration {event.iteration:,}" + (f": {event.message}" if event.message else "")
    return None


def _place(epoch: int, iteration: int) -> str:
    return f"epoch {epoch}, iteration {iteration:,}"


def _measured(loss: float, errors: Mapping[str, float], declared: Measures) -> str:
    return ", ".join(part for part in (f"loss {units.significant(loss)}", units.errors(errors, declared)) if part)
