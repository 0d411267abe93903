"""A progress bar with the time that is left: live on a terminal, a plain line every ten seconds elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

_EVERY = 10.0


@contextlib.contextmanager
def bar(what: str, total: int, clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[int], None]]:
    """Give a function that takes how many more are done; shown on stderr."""
    if not sys.stderr.isatty():
        yield _Lines(what, total, clock)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(what), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
        task, began, done = progress.add_task(what, total=total, rate=""), clock(), 0

        def tell(more: int) -> None:
            nonlocal done
            done += more
            progress.update(task, advance=more, rate=f"{done / max(clock() - began, 1e-9):,.0f} a second")

        yield tell


class _Lines:
    """Prints how far it is, at most every ten seconds, and at the end."""

    def __init__(self, what: str, total: int, clock: Callable[[], float]) -> None:
        self._what, self._total, self._clock = what, total, clock
        self._began = self._printed = clock()
        self._done = 0

    def __call__(self, more: int) -> None:
        self._done += more
        now = self._clock()
        if now - self._printed < _EVERY and self._done < self._total:
            return
        self._printed = now
        rate = self._done / max(now - self._began, 1e-9)
        left = f", {_minutes((self._total - self._done) / rate)} left" if rate and self._done < self._total else ""
        line = f"{self._done:,} of {self._total:,} {self._what}, {rate:,.0f} a second{left}"
        with contextlib.suppress(BrokenPipeError):
            print(line, file=sys.stderr, flush=True)


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
