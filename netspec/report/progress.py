"""The progress of a run on the terminal: a live line where there is one, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from netspec.events import (
    CheckpointWritten,
    EvaluationDone,
    EvaluationProgress,
    Event,
    IterationDone,
    Note,
    RunFinished,
    RunStarted,
)
from netspec.machine.cleanup import close_after
from netspec.report import lines
from netspec.report.tracker import Tracker

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_FIRST = 3
_EVERY = 10.0


class Progress:
    """A Listener that prints lines; closes as a context manager.

    Where nobody reads any more (a closed pipe) it falls silent and lets the run go on.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.tracker = Tracker()
        self._stream, self._clock = stream or sys.stdout, clock
        self._printed, self._at = 0, self._clock()

    def __enter__(self) -> Progress:
        """Begin to show."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Leave the terminal as it was."""

    def __call__(self, event: Event) -> None:
        """Show an event."""
        self.tracker(event)
        match event:
            case IterationDone():
                self.iteration(event)
            case EvaluationProgress():
                self.evaluating(event)
            case _:
                self.other(event)

    def iteration(self, event: IterationDone) -> None:
        """A line for the first iterations, the last one, and one every ten seconds between."""
        if not event.finite:
            self.say(lines.not_finite(event))
        run = self.tracker.started
        last = run is not None and event.iteration >= run.total_iterations
        if self._printed < _FIRST or last or self._clock() - self._at >= _EVERY:
            self._printed, self._at = self._printed + 1, self._clock()
            self.say(lines.iteration(self.tracker))

    def evaluating(self, event: EvaluationProgress) -> None:
        """A line every ten seconds."""
        if self._clock() - self._at >= _EVERY:
            self._at = self._clock()
            self.say(f"evaluating: {event.images:,} of {event.total:,} images")

    def other(self, event: Event) -> None:
        """The lines of any other event."""
        for line in _told(event, self.tracker):
            self.say(line)

    def say(self, line: str) -> None:
        """Print a line now."""
        with contextlib.suppress(BrokenPipeError):
            print(line, file=self._stream, flush=True)


def _told(event: Event, tracker: Tracker) -> list[str]:
    match event:
        case Note():
            return [event.text]
        case RunStarted():
            return [lines.started(event)]
        case EvaluationDone():
            return [lines.evaluated(event)]
        case CheckpointWritten():
            return [lines.checkpoint(event)]
        case RunFinished():
            return lines.last_words(tracker)
    return []


class LiveProgress(Progress):
    """A line that is renewed in place at the bottom of the terminal; other lines scroll above it."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.live import Live

        super().__init__(clock=clock)
        self._console = console
        self._evaluation: EvaluationProgress | None = None
        self._over = False
        self._live = Live(get_renderable=self.line, console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Progress:
        """Begin to show; by plain lines where the system has no thread to spare that would renew a live one."""
        try:
            self._live.start(refresh=False)
        except RuntimeError:
            self._live.stop()
            return Progress(self._stream)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Take the live line away and leave the terminal as it was, where it still is."""
        with contextlib.suppress(OSError):
            close_after(error, self._live.stop)

    def iteration(self, event: IterationDone) -> None:
        """Only a step that was left out scrolls; all else is in the live line."""
        self._evaluation = None
        if not event.finite:
            self.say(lines.not_finite(event))

    def evaluating(self, event: EvaluationProgress) -> None:
        """Shown in the live line."""
        self._evaluation = event

    def other(self, event: Event) -> None:
        """Lines that scroll; after an evaluation and at the end the live line shows something else, or nothing."""
        if isinstance(event, EvaluationDone | RunFinished):
            self._evaluation = None
        self._over = isinstance(event, RunFinished)
        self._live.refresh()
        super().other(event)

    def say(self, line: str) -> None:
        """Print above the live line."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def line(self) -> Text:
        """The live line, as wide as the terminal allows."""
        room, event = 0 if self._over else self._console.width - 1, self._evaluation
        glyphs = "\u2501" if self._console.encoding.startswith("utf") else "#"
        if event is None:
            return fitted(self.tracker.done_in_epoch, lines.progress_fields(self.tracker), room, glyphs)
        parts = [(0, f"evaluating {event.images:,}/{event.total:,} images")]
        return fitted(event.images / max(event.total, 1), parts, room, glyphs)


_BAR = 16


def fitted(share: float, parts: list[tuple[int, str]], width: int, glyph: str = "#") -> Text:
    """A bar of the share done and the parts that fit into ``width`` cells, the least needed ones left out."""
    from rich.text import Text

    kept = list(parts)
    while len(kept) > 1 and len(_joined(kept)) > width:
        kept.remove(max(kept))
    text = Text(_joined(kept)[:width])
    if not kept or len(text) + _BAR + 2 > width:
        return text
    filled = round(share * _BAR)
    rest = glyph if glyph != "#" else "."
    return Text.assemble((glyph * filled, "cyan"), (rest * (_BAR - filled), "bright_black"), "  ", text)


def _joined(parts: list[tuple[int, str]]) -> str:
    return "  ".join(text for _, text in parts)


def progress(stderr: bool = False) -> Progress:
    """The Listener for this terminal, to be used in a ``with`` statement: live if it can, plain lines if not."""
    stream = sys.stderr if stderr else sys.stdout
    if not stream.isatty():
        return Progress(stream)
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False)
    return Progress(stream) if console.is_dumb_terminal or not console.is_terminal else LiveProgress(console)
