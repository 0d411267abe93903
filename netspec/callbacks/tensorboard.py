"""TensorBoard event files, written by tensorboardX: the extra ``netspec[tensorboard]``.

By its RecordWriter, which writes where it is called. Its SummaryWriter hands events to a thread behind a bounded queue:
where the disk is full the thread dies, and the next event waits for ever.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netspec.callbacks._base import Callback
from netspec.errors import NetspecError
from netspec.events import EvaluationDone, Event, IterationDone
from netspec.machine.atomic_files import told
from netspec.machine.cleanup import on_error

_FLUSH_EVERY_S = 10.0


class TensorBoard(Callback):
    """Losses, errors, rate and speed by iteration as TensorBoard's event files, in ``tensorboard/`` of the run."""

    _writer: Any = None

    def check(self) -> None:
        """Raise NetspecError, with what to type, where tensorboardX is not installed."""
        try:
            import tensorboardX  # noqa: F401
        except ImportError as error:
            raise NetspecError("--log tensorboard needs tensorboardX: pip install 'netspec[tensorboard]'") from error

    def begin(self, folder: Path, iteration: int) -> None:
        """Open a file; in a resumed run it says that what lies beyond ``iteration`` in others is void."""
        from tensorboardX.proto import event_pb2, summary_pb2
        from tensorboardX.record_writer import RecordWriter

        self._due = time.monotonic()
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        path = folder / "tensorboard" / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}"
        with told(path):
            path.parent.mkdir(exist_ok=True)
            self._writer = RecordWriter(str(path))
            with on_error(self.close):
                self._write(file_version="brain.Event:2")
                if iteration:
                    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
                    self._write(step=iteration + 1, session_log=start)

    def __call__(self, event: Event) -> None:
        """Write an event down, if it is one of those. Raises OSError."""
        match event:
            case IterationDone():
                rest = {"rate": event.learning_rate, "images_per_second": event.images_per_second}
                self._add("train", event, {**rest, "waited": event.waited})
            case EvaluationDone():
                self._add(event.split, event, {})

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()

    def _add(self, group: str, event: IterationDone | EvaluationDone, rest: Mapping[str, float]) -> None:
        scalars = {"loss": event.loss, **event.errors, **rest}
        values = [self._summary.Value(tag=f"{group}/{name}", simple_value=value) for name, value in scalars.items()]
        self._write(step=event.iteration, summary=self._summary(value=values))

    def _write(self, **content: Any) -> None:
        self._writer.write(self._event(wall_time=time.time(), **content).SerializeToString())
        if time.monotonic() >= self._due:  # the library has the system sync the file, which takes milliseconds
            self._writer.flush()
            self._due = time.monotonic() + _FLUSH_EVERY_S
