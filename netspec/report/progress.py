"""Progress of runs and tasks: a live line where there is a terminal or a notebook, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, TextIO

from netspec.events import (
    CheckpointWritten,
    EvaluationDone,
    Event,
    IterationDone,
    Listener,
    Note,
    RunFinished,
    RunStarted,
    TaskProgress,
)
from netspec.machine.cleanup import close_after
from netspec.machine.tasks import hearing, task
from netspec.report import lines
from netspec.report.tracker import Tasks, Tracker

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

FIRST_AFTER_S = 2.0
"""Seconds of silence before the first line of a task, and between lines on a terminal that has no live line."""
EVERY_S = 10.0
"""Seconds between lines to a file or a pipe."""
_FIRST = 3
"""Iterations that have lines of their own."""
_TICK_S = 0.25
_SHORT_S = 0.5
"""What is over sooner shows no live line."""


class Progress:
    """A Listener that prints lines; as a context manager it does so also while no event comes.

    Where nobody reads any more (a closed pipe) it falls silent and lets the run go on.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.tracker, self.tasks = Tracker(), Tasks(clock)
        self._stream, self._clock = stream or sys.stdout, clock
        self._every = FIRST_AFTER_S if self._stream.isatty() else EVERY_S
        self._printed, self._at, self._heard_at, self._began = 0, clock(), clock(), clock()
        self._starting = True
        self._shown = ""
        self._lock = threading.Lock()
        self._over = threading.Event()

    def __enter__(self) -> Progress:
        """Begin to show."""
        with contextlib.suppress(RuntimeError):  # no thread to spare: lines then come with events alone
            threading.Thread(target=self._keep_ticking, name="netspec-progress", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Leave the terminal as it was."""
        self._over.set()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        with self._lock:
            self.tracker(event)
            self.tasks(event)
            self._heard_at = self._clock()
            self._starting = self._starting and isinstance(event, Note)
        if isinstance(event, IterationDone):
            self.iteration(event)
        else:
            for line in _told(event, self.tracker):
                self.say(line)
        self.tick()
        if isinstance(event, TaskProgress) and event.over and self._shown == event.what:
            self.say(lines.joined(lines.task_fields(event, 0.0)[:1]))

    def iteration(self, event: IterationDone) -> None:
        """A line for the first iterations, the last one, and at intervals between."""
        if not event.finite:
            self.say(lines.not_finite(event))
        run = self.tracker.started
        last = run is not None and event.iteration >= run.total_iterations
        if self._printed < _FIRST or last or self._clock() - self._at >= self._every:
            self._printed, self._at = self._printed + 1, self._clock()
            self.say(lines.iteration(self.tracker))

    def tick(self) -> None:
        """A line on what is under way, where there has been none for long."""
        with self._lock:
            what, line, seconds = self._under_way()
        now = self._clock()
        every = self._every if what == self._shown else FIRST_AFTER_S
        if line and seconds >= FIRST_AFTER_S and now - self._at >= every:
            self._at, self._shown = now, what
            self.say(line)

    def _under_way(self) -> tuple[str, str, float]:
        """The task or iteration under way, its line, and the seconds that it has taken."""
        if (current := self.tasks.current) is not None:
            return current[0].what, lines.joined(lines.task_fields(*current)), current[1]
        silent = self._clock() - self._heard_at
        if self._starting:
            return "starting", self._started(), silent
        return "iteration", lines.under_way(self.tracker, silent), silent

    def _started(self) -> str:
        return f"starting, {self._clock() - self._began:.0f} s"

    def say(self, line: str) -> None:
        """Print a line now."""
        with contextlib.suppress(BrokenPipeError):
            self._stream.write(f"{line}\n")
            self._stream.flush()

    def _keep_ticking(self) -> None:
        while not self._over.wait(_TICK_S):
            with contextlib.suppress(OSError, ValueError):  # a full disk, a closed stream
                self.tick()


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


class Line(NamedTuple):
    """A line that is renewed in place: a bar, what is left of it, and words."""

    done: str
    left: str
    text: str


class InPlace(Progress):
    """A line that is renewed in place by carriage returns, as notebooks show them; other lines scroll above it."""

    WIDTH = 100

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream, clock)
        self._wide = 0
        self._writing = threading.RLock()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Take the line away."""
        super().__exit__(kind, error, tb)
        self._rewrite("")

    def iteration(self, event: IterationDone) -> None:
        """Only a step that was left out scrolls; all else is in the line."""
        if not event.finite:
            self.say(lines.not_finite(event))

    def tick(self) -> None:
        """Renew the line, some times a second."""
        now = self._clock()
        if not self._over.is_set() and now - self._at >= _TICK_S and now - self._began >= _SHORT_S:
            self._at = now
            self._rewrite("".join(self.line(self.WIDTH, _GLYPHS)))

    def say(self, line: str) -> None:
        """Print above the line."""
        with self._writing:
            self._rewrite("")
            super().say(line)

    def _rewrite(self, line: str) -> None:
        with self._writing, contextlib.suppress(BrokenPipeError):
            self._stream.write(f"\r{' ' * self._wide}\r{line}" if self._wide or line else "")
            self._stream.flush()
            self._wide = len(line)

    def line(self, width: int, glyphs: str) -> Line:
        """The line of what is under way."""
        with self._lock:
            if (current := self.tasks.current) is not None:
                task, seconds = current
                share = task.done / task.total if task.total else None
                return fitted(share, lines.task_fields(task, seconds), width, glyphs)
            if self.tracker.finished is not None:
                return Line("", "", "")
            silent = self._clock() - self._heard_at
            if self.tracker.last is None:
                text = lines.under_way(self.tracker, silent) or self._started()
                return fitted(None, [(0, text)], width, glyphs)
            fields = lines.progress_fields(self.tracker)
            if silent >= FIRST_AFTER_S:
                fields.append((6, f"next for {silent:.0f} s"))
            return fitted(self.tracker.done_in_epoch, fields, width, glyphs)


class LiveProgress(InPlace):
    """The same at the bottom of a terminal."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.live import Live

        super().__init__(clock=clock)
        self._console = console
        self._live = Live(
            get_renderable=self.shown,
            console=console,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # what is printed meanwhile goes above the line, but not out of a pipe
            redirect_stderr=sys.stderr.isatty(),
        )

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
        self._over.set()
        with contextlib.suppress(OSError):
            close_after(error, self._live.stop)

    def tick(self) -> None:
        """Nothing to do: the live line renews itself."""

    def say(self, line: str) -> None:
        """Print above the live line, which may have been of something that is over."""
        self._live.refresh()
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def shown(self) -> Text:
        """The live line, as wide as the terminal allows."""
        from rich.text import Text

        if self._over.is_set() or self._clock() - self._began < _SHORT_S:
            return Text("")
        glyphs = _GLYPHS if self._console.encoding.startswith("utf") else _ASCII
        done, left, text = self.line(self._console.width - 1, glyphs)
        return Text.assemble((done, "cyan"), (left, "bright_black"), text)


_GLYPHS, _ASCII = "\u2501\u00b7", "#."
"""Done and left of a bar, told apart without colours too."""
_WIDE = 100
"""Cells from which on a bar is 16 long, not 8."""
_CORE = 1
"""The highest rank of parts that are worth more than a bar."""


def fitted(share: float | None, parts: list[tuple[int, str]], width: int, glyphs: str = _ASCII) -> Line:
    """A bar of the share done, if known, and the parts that fit into ``width`` cells, the least needed left out."""
    cells = 16 if width >= _WIDE else 8
    beside = _kept(parts, width - cells - 2)
    if share is None or len(lines.joined(beside)) > width - cells - 2 or _core(beside) < _core(parts):
        return Line("", "", lines.joined(_kept(parts, width))[: max(width, 0)])
    filled = int(share * cells)
    return Line(glyphs[0] * filled, glyphs[1] * (cells - filled), f"  {lines.joined(beside)}")


def _kept(parts: list[tuple[int, str]], width: int) -> list[tuple[int, str]]:
    kept = list(parts)
    while len(kept) > 1 and len(lines.joined(kept)) > width:
        kept.remove(max(kept))
    return kept


def _core(parts: list[tuple[int, str]]) -> int:
    return sum(rank <= _CORE for rank, _ in parts)


def progress(stderr: bool = False) -> Progress:
    """The Listener for this terminal, to be used in a ``with`` statement: live if it can, plain lines if not."""
    stream = sys.stderr if stderr else sys.stdout
    if not stream.isatty():
        return Progress(stream)
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False)
    return Progress(stream) if console.is_dumb_terminal or not console.is_terminal else LiveProgress(console)


@contextlib.contextmanager
def shown(what: str = "") -> Iterator[None]:
    """Show the tasks of the block on stderr, see netspec.machine.tasks; the block itself is ``what``."""
    with progress(stderr=True) as listener, hearing(listener), task(what) if what else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def heard(listener: Listener | None, show: bool | None) -> Iterator[Listener | None]:
    """Whom a function tells that Python calls: a listener, and with ``show`` the terminal or notebook.

    None shows progress where there is one to show it in, and no listener that could.
    """
    notebook = _is_notebook()
    if not (listener is None and (notebook or sys.stderr.isatty()) if show is None else show):
        with hearing(listener):
            yield listener
        return
    with InPlace(sys.stdout) if notebook else progress(stderr=True) as own:

        def both(event: Event) -> None:
            own(event)
            if listener is not None:
                listener(event)

        with hearing(both):
            yield both


def _is_notebook() -> bool:
    """Whether this is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
