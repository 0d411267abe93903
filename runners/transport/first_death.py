"""Which of this machine's processes of a run ended first, mpiexec's helper among them.

A launcher that ends the others does not tell.
"""

from __future__ import annotations

import os
import platform
import select
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

Note = dict[str, Any]
_LOOK_S = 0.1


class FirstDeath:
    """Watches processes, once all have said who they are, from a thread; needs Linux (pidfd_open), else knows none."""

    def __init__(self, ranks: Callable[[], Sequence[Note]], count: int) -> None:
        self._ranks, self._count = ranks, count
        self.found: list[Note] = []
        """Those that had ended when the first end was seen: one, unless the machine was too busy to look."""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="netspec-first-death", daemon=True)
        if hasattr(os, "pidfd_open"):
            self._thread.start()

    def _watch(self) -> None:
        while len(ranks := self._ranks()) < self._count:
            if self._closed.wait(_LOOK_S):
                return
        poll, opened = select.poll(), {}
        here = [rank for rank in ranks if rank["host"] == platform.node()]
        helpers = {rank["parent"]: {"host": rank["host"], "pid": rank["parent"]} for rank in here}
        for one in (*here, *helpers.values()):
            with suppress(OSError):
                opened[os.pidfd_open(one["pid"])] = one
        for descriptor in opened:
            poll.register(descriptor, select.POLLIN)
        while not self._closed.is_set() and not self.found:
            self.found = [opened[descriptor] for descriptor, _ in poll.poll(1000 * _LOOK_S)]
        for descriptor in opened:
            os.close(descriptor)

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join(10 * _LOOK_S)
