"""A gate before what writes: shut while values are being read, so that a copy can be made beside the work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Gate:
    """Holds calls back while it is shut. Shut it from the thread that starts the calls, open it from any."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self.waited = 0.0
        """Seconds that the call which waited longest has waited since the gate was last shut."""

    def shut(self) -> None:
        """Hold back calls from now on."""
        self.waited = 0.0
        self._open.clear()

    def open(self) -> None:
        """Let calls through."""
        self._open.set()

    def behind(self, call: Callable[[], None]) -> Callable[[], None]:
        """The call, as soon as the gate is open."""

        def held() -> None:
            if not self._open.is_set():
                self._wait()
            call()

        return held

    def _wait(self) -> None:
        began = time.perf_counter()
        self._open.wait()
        self.waited = max(self.waited, time.perf_counter() - began)
