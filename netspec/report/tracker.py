"""What a run's events add up to: recent means, what is left to do, first and best results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from netspec.events import (
    CheckpointWritten,
    EvaluationDone,
    EvaluationProgress,
    Event,
    IterationDone,
    RunFinished,
    RunStarted,
    TaskProgress,
)

RECENT = 50
"""Iterations that means are taken over, at most; of a young run its last quarter."""


class Tracker:
    """Follows a run; fed with every event, it answers what the terminal shows."""

    def __init__(self) -> None:
        self.started: RunStarted | None = None
        self.last: IterationDone | None = None
        self.finished: RunFinished | None = None
        self._first: list[float] = []
        self._seen, self._since_checkpoint = 0, 0.0
        self._checkpoints: list[CheckpointWritten] = []
        self.evaluations: list[EvaluationDone] = []
        self._recent: deque[IterationDone] = deque(maxlen=RECENT)
        self._timed: deque[IterationDone] = deque(maxlen=RECENT)

    def __call__(self, event: Event) -> None:
        """Take in an event."""
        match event:
            case RunStarted():
                self.__init__()  # type: ignore[misc]  # of several runs, one after the other, the present one
                self.started = event
            case IterationDone():
                self._iteration(event)
            case EvaluationDone():
                self.evaluations.append(event)
            case CheckpointWritten():
                self._checkpoints.append(event)
                self._since_checkpoint = 0.0
            case RunFinished():
                self.finished = event

    def _iteration(self, event: IterationDone) -> None:
        if self._seen == 1:  # the first one of a process compiles kernels: its time says nothing
            self._timed.clear()
        self.last, self._seen = event, self._seen + 1
        self._since_checkpoint += event.seconds
        self._recent.append(event)
        self._timed.append(event)
        if event.finite and len(self._first) < RECENT:
            self._first.append(event.loss)

    def _finite(self) -> list[IterationDone]:
        events = [event for event in self._recent if event.finite]
        return events[-max(1, self._seen // 4) :]

    @property
    def loss(self) -> float | None:
        """Mean loss of recent iterations; None before the first finite one."""
        return _mean([event.loss for event in self._finite()])

    @property
    def learned(self) -> tuple[Span, Span] | None:
        """Losses of the first and the last iterations, of equally many; None where there are too few to compare."""
        last = [event.loss for event in self._finite()]
        return (Span(self._first[: len(last)]), Span(last)) if self._seen > 1 and last else None

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
        """Seconds to the end of the run; None while there is nothing to judge by.

        Evaluations and checkpoints count as long as those before them took.
        """
        step = self.seconds_per_iteration
        if self.started is None or self.last is None or step is None:
            return None
        training = max(0, self.started.total_iterations - self.last.iteration) * step
        return training + self._evaluating_left() + self._saving_left(training)

    def _evaluating_left(self) -> float:
        """Each epoch ends with an evaluation, and so does a run that ends within one."""
        seconds = self.evaluations[-1].seconds if self.evaluations else 0.0
        return max(0, self._epochs_to_end() - len(self.evaluations)) * seconds

    def _saving_left(self, training: float) -> float:
        """Training stands still for each checkpoint; the run ends when the last one is on disk."""
        if not self._checkpoints or self.started is None or self.last is None:
            return 0.0
        epochs = self._epochs_to_end() - (self.last.iteration - self.started.iteration) // self._per_epoch
        by_clock = training // self.started.checkpoint_every if self.started.checkpoint_every else 0.0
        stall = sum(event.stall for event in self._checkpoints) / len(self._checkpoints)
        return max(0.0, max(epochs, by_clock) - 1) * stall + max(stall, self._checkpoints[-1].seconds)

    @property
    def _per_epoch(self) -> int:
        return max(self.started.iterations_per_epoch, 1) if self.started else 1

    def _epochs_to_end(self) -> int:
        """Epochs of this process's part of the run, begun ones among them."""
        assert self.started is not None
        return -(-self.started.total_iterations // self._per_epoch) - self.started.iteration // self._per_epoch

    @property
    def to_checkpoint(self) -> float | None:
        """Seconds to the next checkpoint: at the end of the epoch, or sooner where they come by the clock too."""
        step = self.seconds_per_iteration
        if self.started is None or self.last is None or step is None or not self.started.folder:
            return None
        per_epoch = self.started.iterations_per_epoch
        left = min(-self.last.iteration % per_epoch, max(0, self.started.total_iterations - self.last.iteration))
        every = self.started.checkpoint_every
        return min(left * step, max(0.0, every - self._since_checkpoint)) if every else left * step

    @property
    def done_in_epoch(self) -> float:
        """Share of the present epoch that is done, in [0, 1]."""
        if self.started is None or self.last is None:
            return 0.0
        done = self.last.iteration % self.started.iterations_per_epoch
        return done / self.started.iterations_per_epoch if done else 1.0


class Span:
    """Mean loss of some iterations, and its standard error."""

    def __init__(self, losses: list[float]) -> None:
        self.count, self.mean = len(losses), sum(losses) / len(losses)
        spread = sum((loss - self.mean) ** 2 for loss in losses) / max(self.count - 1, 1)
        self.error = (spread / self.count) ** 0.5


class Tasks:
    """The tasks under way, see TaskProgress, with the time since each began."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._open: dict[str, tuple[TaskProgress, float]] = {}

    def __call__(self, event: Event) -> None:
        """Take in an event."""
        if isinstance(event, RunFinished):
            self._open.clear()
        if isinstance(event, EvaluationDone):
            self._open.pop(_EVALUATING, None)
        if isinstance(event, EvaluationProgress):
            over = event.images >= event.total
            event = TaskProgress(_EVALUATING, event.images, event.total, over=over)
        if isinstance(event, TaskProgress):
            began = self._open.pop(event.what, (event, self._clock()))[1]
            if not event.over:
                self._open[event.what] = event, began

    @property
    def current(self) -> tuple[TaskProgress, float] | None:
        """The one that was told of last, and its seconds."""
        if not self._open:
            return None
        event, began = next(reversed(self._open.values()))
        return event, self._clock() - began


_EVALUATING = "evaluating images"


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
