"""What a rank other than 0 writes into a run directory, which rank 0 holds: a log of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netspec.machine.cleanup import close_after
from netspec.rundir.directory import log_lines
from netspec.rundir.json_lines import Lines

LOG = "log.rank{}.txt"


class RankLog:
    """A run directory as such a rank sees it; all but the log is rank 0's."""

    def __init__(self, path: Path, rank: int) -> None:
        self.path = path
        self._log = Lines(path / LOG.format(rank))

    def log(self, text: str) -> None:
        """Append lines to the rank's log, with the time."""
        log_lines(self._log, text)

    def metrics(self) -> None:
        """Rank 0 has the run's."""

    def record(self, what: str, **details: Any) -> None:
        """Rank 0 keeps the run's history."""

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    def __enter__(self) -> RankLog:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        close_after(error, self.close)
