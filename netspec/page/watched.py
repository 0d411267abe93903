"""A page of runs that go on: its sections are made again when there is something new, and somebody asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from netspec.errors import NoSuchFile
from netspec.page.background import Background, Request
from netspec.page.document import Section, document, note
from netspec.page.run_page import heading, parts
from netspec.registry import trust
from netspec.report.run_labels import run_labels
from netspec.rundir.directory import CHECKPOINTS, RESOLVED
from netspec.rundir.lock import is_locked
from netspec.rundir.metrics import FILE as METRICS
from netspec.runners.training.saver import ranked

_PAUSE, _LONGEST = 15, 10.0
"""A live section rests so many times as long as making it took, and no longer than so many seconds."""
_MAKING = note("being made, in the background")


class Watched:
    """The sections of one page on these runs, as they are at each moment; any thread may ask.

    ``images`` and ``plugins`` are those of netspec report. Raises NetspecError where a folder is no run.
    """

    def __init__(self, runs: Sequence[Path], images: Mapping[str, str], plugins: Sequence[str] = ()) -> None:
        for run in runs:
            if not (run / RESOLVED).is_file():
                raise NoSuchFile(f"{run}: no such run (netspec runs lists them)")
        self._runs, self._labels, self._images, self._plugins = list(runs), run_labels(runs), images, plugins
        self._trust = trust.is_asked()
        self._heading = heading(runs)
        found = parts(self._runs, self._labels, lambda line: None, images)
        self._live = [part for part in found if part.live]
        self._sections = {part.anchor: Section(part.anchor, part.title, _MAKING) for part in found}
        self._lock = threading.Lock()
        self._state: object = None
        self._made: dict[str, tuple[object, float]] = {}
        self._wanted: object = None
        self._made_of: object = None
        self._training = False
        self._background = Background(self._take)

    def document(self) -> str:
        """The whole page."""
        sections = self.sections()
        return document(*self._heading, list(sections.values()), self.status)

    def sections(self) -> Mapping[str, Section]:
        """The sections by anchor, in their order."""
        with self._lock:
            self._refresh()
            return dict(self._sections)

    @property
    def status(self) -> str:
        """What goes on, in a line."""
        told = "Live: training goes on" if self._training else "Live: training has ended"
        return told + ("; sections are being made of the best checkpoint." if self._background.busy else ".")

    def close(self) -> None:
        """End what is being made."""
        self._background.close()

    def _take(self, section: Section) -> None:
        with self._lock:
            self._sections[section.anchor] = section

    def _refresh(self) -> None:
        """Make live sections where metrics have changed, and have the others made where there is a better checkpoint.

        Only one thread is in here, since matplotlib's settings are the process's.
        """
        state = [_state_of(run) for run in self._runs]
        if state != self._state:
            self._state, self._training = state, any(locked for locked, *_ in state)
            self._wanted = self._training, [_best(run) for run in self._runs]
        for part in self._live:
            made_of, rests_until = self._made.get(part.anchor, (None, 0.0))
            if made_of != state and time.monotonic() >= rests_until:
                began = time.thread_time()
                self._sections[part.anchor] = part.section()
                rest = min(_LONGEST, _PAUSE * (time.thread_time() - began))
                self._made[part.anchor] = state, time.monotonic() + rest
        if self._wanted != self._made_of and self._background.ready(self._training):
            self._made_of = self._wanted
            self._background.make(self._request())

    def _request(self) -> Request:
        runs = [str(run.absolute()) for run in self._runs]
        return Request(runs, self._labels, self._training, self._images, self._plugins, self._trust)


def _state_of(run: Path) -> tuple[bool, int, int]:
    """Whether a process trains there, and what tells that its metrics have changed."""
    try:
        found = (run / METRICS).stat()
    except OSError:
        return False, 0, int(run.is_dir())
    return is_locked(run), found.st_mtime_ns, found.st_size


def _best(run: Path) -> str | None:
    """The name of the best checkpoint."""
    return next((kept.path.name for kept in ranked(run / CHECKPOINTS)), None)
