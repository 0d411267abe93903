"""Threads, or one message where the system has none to spare."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator

from netspec.errors import NetspecError
from netspec.machine.limits import cause


@contextlib.contextmanager
def starting(name: str) -> Iterator[None]:
    """Turn the RuntimeError of a thread that cannot be started into a NetspecError that names it and the limits."""
    try:
        yield
    except RuntimeError as error:
        raise NetspecError(f"no thread can be started ({name}): {cause(error)}") from error


def start(threads: Iterable[threading.Thread]) -> None:
    """Start each of them; raises NetspecError as ``starting`` does."""
    for thread in threads:
        with starting(thread.name):
            thread.start()
