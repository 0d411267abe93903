"""Listeners, each on a thread of its own: none that fails, or never returns, keeps the training from going on."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from netspec.errors import NetspecError
from netspec.events import Event, Listener
from netspec.machine import start_threads

PATIENCE_S = 10.0
"""How long the training waits for a listener that is at an event, and its end for one that is behind."""
MOST_WAITING = 10_000
"""Events that are kept for a listener that is behind; the oldest are lost."""


class ListenerThread:
    """Hands events to a listener in order.

    ``hear`` returns when the listener has taken the event in, so that it sees the run as it is at that moment, but
    waits no longer than PATIENCE_S for it; from then on ``late`` is set and nobody waits until it has caught up.
    ``trouble`` is what the listener raised, after which it hears no more. ``end`` is called when all is told, by the
    thread that the listener is called by.
    """

    def __init__(self, listener: Listener, name: str, end: Callable[[], object] | None = None) -> None:
        self.listener, self.name = listener, name
        self.late, self.lost = False, 0
        self.trouble: BaseException | None = None
        self._end = end
        self._events: deque[Event] = deque()
        self._busy = self._closed = False
        self._changed = threading.Condition()
        thread = threading.Thread(target=self._serve, name="netspec-listener", daemon=True)
        self._thread: threading.Thread | None = thread
        try:
            start_threads.start([thread])
        except NetspecError:  # the system has none to spare: the calling thread then does it
            self._thread = None

    def hear(self, event: Event) -> None:
        """Have the listener hear of an event."""
        if self._thread is None:
            self._tell(event)
            return
        with self._changed:
            if self.trouble is not None:
                return
            if len(self._events) >= MOST_WAITING:
                self._events.popleft()
                self.lost += 1
            self._events.append(event)
            self._changed.notify_all()
            self.late = self.late and not self._is_idle()
            if not self.late:
                self.late = not self._changed.wait_for(self._is_idle, PATIENCE_S)

    def close(self) -> None:
        """Let it hear what it has not heard yet, for a while, and end."""
        if self._thread is None:
            self._finish()
            return
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(PATIENCE_S)

    def _is_idle(self) -> bool:
        return self.trouble is not None or not (self._events or self._busy)

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._events or self._closed)
                if not self._events or self.trouble is not None:
                    break
                event, self._busy = self._events.popleft(), True
            self._tell(event)
        self._finish()

    def _tell(self, event: Event) -> None:
        if self.trouble is None:
            try:
                self.listener(event)
            except BaseException as error:  # whoever told the event decides
                self.trouble = error

    def _finish(self) -> None:
        if self._end is not None:
            try:
                self._end()
            except Exception as error:
                self.trouble = self.trouble or error
