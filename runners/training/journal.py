"""Where a run's events go: its metrics file, its log and whoever listens."""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Mapping
from pathlib import Path

from netspec import events
from netspec.errors import NetspecError
from netspec.events import Event, Listener
from netspec.rundir.directory import RunDirectory
from netspec.rundir.metrics import FILE, Lines, as_line

_LOG_EVERY_S = 10.0


class Journal:
    """A listener that writes down what it hears; what comes before ``keep_in`` is written when the folder is known."""

    def __init__(self, listener: Listener | None) -> None:
        self._listeners = [listener] if listener else []
        self._folder: RunDirectory | None = None
        self._lines: Lines | None = None
        self._early: list[Event] = []
        self._logged_at = 0.0

    def keep_in(self, folder: RunDirectory) -> None:
        """Write to that run directory from now on, first of all what has been heard."""
        self._folder, self._lines = folder, Lines(folder.path / FILE)
        for event in self._early:
            self._write(event)
        self._early.clear()

    def __call__(self, event: Event) -> None:
        """Write the event down and pass it on. Raises NetspecError when the disk will not take it."""
        if self._folder is None:
            self._early.append(event)
        else:
            self._write(event)
        self._tell(event)

    def also(self, listener: Listener) -> None:
        """Have one more listener from now on."""
        self._listeners.append(listener)

    def note(self, text: str | None) -> None:
        """A line for people, if there is one."""
        if text:
            self(events.Note(text))

    def last_words(self, event: Event) -> None:
        """As a call, but a full disk is no matter: something worse is being told."""
        with contextlib.suppress(NetspecError):
            if self._folder is not None:
                self._write(event)
        self._tell(event)

    def close(self) -> None:
        """Close the metrics file."""
        if self._lines is not None:
            self._lines.close()

    def _tell(self, event: Event) -> None:
        """Pass it on; a terminal that has gone away hears no more, which is no reason to stop."""
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                self._listeners.remove(listener)

    def _write(self, event: Event) -> None:
        assert self._folder is not None
        assert self._lines is not None
        line = as_line(event)
        if line is not None:
            self._lines.write(line)
        if isinstance(event, events.IterationDone):
            if time.monotonic() - self._logged_at < _LOG_EVERY_S:
                return
            self._logged_at = time.monotonic()
        text = as_text(event)
        if text:
            self._folder.log(text)


def as_text(event: Event) -> str | None:
    """The event in a line for people; None for those not worth one."""
    match event:
        case events.Note(text):
            return text
        case events.RunStarted():
            done = f", {event.iteration:,} of them done" if event.iteration else ""
            return f"{event.name}: {event.total_iterations:,} iterations of {event.batch} images{done}"
        case events.IterationDone():
            figures = f"rate {event.learning_rate:g}, {event.images_per_second:,.1f} img/s, data {event.waited:.1%}"
            return f"{_place(event.epoch, event.iteration)}: {_measured(event.loss, event.errors)}, {figures}"
        case events.EvaluationDone():
            measured = _measured(event.loss, event.errors)
            seen = f"{event.images:,} images, {'centre crop' if event.views == 1 else f'{event.views} views'}"
            return f"{_place(event.epoch, event.iteration)}: {event.split}: {measured} ({seen})"
        case events.CheckpointWritten():
            size = f"{event.nbytes / 1e6:,.1f} MB, training stood still {event.stall * 1e3:.0f} ms"
            return f"checkpoint {Path(event.path).name}: {size}{', the best so far' if event.best else ''}"
        case events.RunFinished():
            return f"{event.status} at iteration {event.iteration:,}" + (f": {event.message}" if event.message else "")
    return None


def _place(epoch: int, iteration: int) -> str:
    return f"epoch {epoch}, iteration {iteration:,}"


def _measured(loss: float, errors: Mapping[str, float]) -> str:
    return ", ".join([f"loss {loss:.4f}", *(f"{name} {value:.2%}" for name, value in errors.items())])
