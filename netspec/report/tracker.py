"""What a run's events add up to: recent means, what is left to do, first and best results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from netspec.events import CheckpointWritten, EvaluationDone, Event, IterationDone, RunFinished, RunStarted

RECENT = 50
"""Iterations that means are taken over, at most; of a young run its last quarter."""


class Tracker:
    """Follows a run; fed with every event, it answers what the terminal shows."""

    def __init__(self) -> None:
        self.started: RunStarted | None = None
        self.last: IterationDone | None = None
        self.finished: RunFinished | None = None
        self.checkpoint: CheckpointWritten | None = None
        self.first_loss: float | None = None
        self._seen, self._since_checkpoint = 0, 0.0
        self.evaluations: list[EvaluationDone] = []
        self._recent: deque[IterationDone] = deque(maxlen=RECENT)
        self._timed: deque[IterationDone] = deque(maxlen=RECENT)

    def __call__(self, event: Event) -> None:
        """Take in an event."""
        match event:
            case RunStarted():
                self.started = event
            case IterationDone():
                self._iteration(event)
            case EvaluationDone():
                self.evaluations.append(event)
            case CheckpointWritten():
                self.checkpoint, self._since_checkpoint = event, 0.0
            case RunFinished():
                self.finished = event

    def _iteration(self, event: IterationDone) -> None:
        if self._seen == 1:  # the first one of a process compiles kernels: its time says nothing
            self._timed.clear()
        self.last, self._seen = event, self._seen + 1
        self._since_checkpoint += event.seconds
        self._recent.append(event)
        self._timed.append(event)
        if self.first_loss is None and event.finite:
            self.first_loss = event.loss

    def _finite(self) -> list[IterationDone]:
        events = [event for event in self._recent if event.finite]
        return events[-max(1, self._seen // 4) :]

    @property
    def loss(self) -> float | None:
        """Mean loss of recent iterations; None before the first finite one."""
        return _mean([event.loss for event in self._finite()])

    @property
    def errors(self) -> Mapping[str, float]:
        """Mean errors of recent iterations, by name."""
        events = self._finite()
        names = events[-1].errors if events else ()
        return {name: sum(event.errors.get(name, 0.0) for event in events) / len(events) for name in names}

    @property
    def seconds_per_iteration(self) -> float | None:
        """Mean time of recent iterations."""
        return _mean([event.seconds for event in self._timed])

    @property
    def images_per_second(self) -> float:
        """Images of recent iterations over their time."""
        return self._over_time(lambda event: event.images_per_second)

    @property
    def waited(self) -> float:
        """Share of the time of recent iterations spent waiting for data."""
        return self._over_time(lambda event: event.waited)

    def _over_time(self, value: Callable[[IterationDone], float]) -> float:
        seconds = sum(event.seconds for event in self._timed)
        return sum(value(event) * event.seconds for event in self._timed) / seconds if seconds > 0 else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds to the end of the run, evaluations included; None while there is nothing to judge by."""
        step = self.seconds_per_iteration
        if self.started is None or self.last is None or step is None:
            return None
        left = max(0, self.started.total_iterations - self.last.iteration)
        return left * step + self._evaluations_left() * self._evaluation_seconds()

    @property
    def to_checkpoint(self) -> float | None:
        """Seconds to the next checkpoint: at the end of the epoch, or sooner where they come by the clock too."""
        step = self.seconds_per_iteration
        if self.started is None or self.last is None or step is None:
            return None
        per_epoch = self.started.iterations_per_epoch
        left = min(-self.last.iteration % per_epoch, max(0, self.started.total_iterations - self.last.iteration))
        every = self.started.checkpoint_every
        return min(left * step, max(0.0, every - self._since_checkpoint)) if every else left * step

    def _evaluations_left(self) -> int:
        assert self.started is not None and self.last is not None
        per_epoch, total = self.started.iterations_per_epoch, self.started.total_iterations
        return -(-total // per_epoch) - self.last.iteration // per_epoch

    def _evaluation_seconds(self) -> float:
        return self.evaluations[-1].seconds if self.evaluations else 0.0

    @property
    def done_in_epoch(self) -> float:
        """Share of the present epoch that is done, in [0, 1]."""
        if self.started is None or self.last is None:
            return 0.0
        done = self.last.iteration % self.started.iterations_per_epoch
        return done / self.started.iterations_per_epoch if done else 1.0


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
