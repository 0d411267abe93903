"""SIGINT, SIGTERM and SIGHUP: the first asks for a clean stop, a second SIGINT stops at once.

A signal that was ignored when the process began stays ignored: whoever started it wants it left alone. Shells start
background jobs of scripts with SIGINT ignored, nohup its command with SIGHUP ignored.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from types import FrameType, TracebackType
from typing import Any, Self

from netspec.exit_codes import HANGUP, INTERRUPTED, TERMINATED

EXIT_CODES: Mapping[int, int] = {
    signal.SIGINT: INTERRUPTED,
    signal.SIGTERM: TERMINATED,
    signal.SIGHUP: HANGUP,
}


class Interrupts:
    """While entered, notes the first signal in ``signal``; a second SIGINT raises KeyboardInterrupt.

    A signal that is ignored, or handled outside Python, is left as it is. Python delivers signals to the main thread
    only; entered in another thread, it notes nothing.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells have it; 0 when there was none."""
        return EXIT_CODES.get(self.signal, 0) if self.signal else 0

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            heeded = [number for number in EXIT_CODES if signal.getsignal(number) not in (signal.SIG_IGN, None)]
            self._before = {number: signal.signal(number, self._note) for number in heeded}
        return self

    def advice(self) -> str | None:
        """How to end the run where SIGINT is ignored; None where Ctrl-C ends it."""
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            return None
        stops = next((signal.Signals(number).name for number in self._before), None)
        if stops is None:
            return f"SIGINT, SIGTERM and SIGHUP are ignored here: kill -KILL {os.getpid()} ends the run, unsaved"
        command = f"kill -{stops.removeprefix('SIG')} {os.getpid()}"
        return f"SIGINT (Ctrl-C) is ignored here: {command} ends the run, with a checkpoint"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or number
