"""Starting worker processes, which are told what to read once they are up; some may be started ahead.

Nothing is imported here that takes time: a run starts its first workers before it imports what it trains with, so that
they import what they need on another core meanwhile.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

_START = "from netspec.data.workers.process import main; main()"


class Started(NamedTuple):
    """A worker that waits for its file descriptors, and the end of the socket that they go through."""

    process: subprocess.Popen[bytes]
    socket: socket.socket
    environment: dict[str, str]

    def hand_over(self, handles: Sequence[int]) -> None:
        """Give it its file descriptors. Raises OSError where it has died."""
        with self.socket:
            socket.send_fds(self.socket, [b"\0"], handles)


_ahead: list[Started] = []
"""Workers that have been started ahead."""


def start_ahead(count: int) -> None:
    """Start so many workers, as far as the system lets one, for pools that will be made; ``dismiss`` ends the rest."""
    with suppress(OSError):
        _ahead.extend(start(subprocess.DEVNULL) for _ in range(count))


def dismiss() -> None:
    """End the workers that were started ahead and that no pool has taken."""
    while _ahead:
        _end(_ahead.pop())


def take() -> Started | None:
    """A worker that was started ahead, if there is one that lives and has the environment that it would have now."""
    while _ahead:
        one = _ahead.pop(0)
        if one.process.poll() is None and one.environment == environment():
            return one
        _end(one)
    return None


def start(errors: int) -> Started:
    """A new worker, whose stderr is ``errors`` until it has its own. Raises OSError."""
    mine, theirs = socket.socketpair()
    with theirs:
        try:
            own = environment()
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, str(os.getpid())],
                env=own,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=errors,
                process_group=0,  # Ctrl-C is for the parent, which ends its iteration and then its workers
            )
        except BaseException:
            mine.close()
            raise
    return Started(process, mine, own)


def environment() -> dict[str, str]:
    """This process's modules, one thread for libraries that would start more, and pixels that stay allocated.

    Without the last, each image's memory goes back to the system and is faulted in again: 100 page faults an image.
    """
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {"PILLOW_BLOCKS_MAX": "4", **os.environ, **threads, "PYTHONPATH": path}


def _end(one: Started) -> None:
    one.socket.close()
    one.process.kill()
    one.process.wait()
