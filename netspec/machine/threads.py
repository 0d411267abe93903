"""Threads, or one message where the system has none to spare."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from netspec.errors import NetspecError

NO_THREAD = "no thread can be started"


def start(threads: Iterable[threading.Thread]) -> None:
    """Start each of them. Raises NetspecError, which names the limits, where the system gives no more threads."""
    for thread in threads:
        try:
            thread.start()
        except RuntimeError as error:
            raise NetspecError(
                f"{NO_THREAD} ({thread.name}): {error}; raise the limit on processes (ulimit -u; pids.max of a "
                "container) or on memory (ulimit -v)"
            ) from error
