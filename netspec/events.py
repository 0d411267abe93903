"""What a run tells while it goes: the typed stream that feeds the terminal, the metrics file and tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from netspec.measures import Measures


@dataclass(frozen=True, slots=True)
class Note:
    """A line for people: what was bound, where data come from, a remark on the classes."""

    text: str


@dataclass(frozen=True, slots=True)
class RunStarted:
    """Training is about to begin; ``iteration`` is above 0 in a resumed run. ``metrics`` says what is measured.

    Checkpoints come at the end of each epoch, and within it every ``checkpoint_every`` seconds (0: only then).
    """

    name: str
    folder: str
    epochs: int
    iterations_per_epoch: int
    total_iterations: int
    iteration: int
    batch: int
    checkpoint_every: float = 0.0
    metrics: Measures = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IterationDone:
    """One iteration: mean loss (of all cost layers, weighted) and what cost layers report, by name: shares in [0, 1]
    (top1, top5), distances in the target's units (rmse, mae). RunStarted says what else there is.

    ``iteration`` counts finished iterations; ``waited`` is the share of the iteration spent waiting for data.
    """

    epoch: int
    iteration: int
    loss: float
    errors: Mapping[str, float]
    learning_rate: float
    images_per_second: float
    waited: float
    seconds: float
    finite: bool = True


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """How far a task beside training is, such as "compiling kernels": ``done`` of ``total``, 0 where nobody knows.

    ``over`` comes with its last event, whether all was done or not; ``note`` says more about it. Of ``even`` parts each
    takes about as long, so that the time left can be told. Tasks may be nested: one that began later ends earlier.
    """

    what: str
    done: int
    total: int
    note: str = ""
    even: bool = True
    over: bool = False


@dataclass(frozen=True, slots=True)
class EvaluationProgress:
    """Images evaluated so far, of how many."""

    images: int
    total: int


@dataclass(frozen=True, slots=True)
class EvaluationDone:
    """Mean loss and errors over a whole split, each image counted once; ``metrics`` says what they are.

    ``broken`` is how many images of the split could not be read; they are not among the ``images``.
    ``views`` is the number of crops that each image was seen in: 1, the centre, or 10.
    """

    epoch: int
    iteration: int
    split: str
    loss: float
    errors: Mapping[str, float]
    images: int
    seconds: float
    broken: int = 0
    views: int = 1
    metrics: Measures = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CheckpointWritten:
    """A checkpoint lies whole on disk.

    ``stall`` is the time that training stood still for it, ``seconds`` the time from there until it was on disk.
    """

    path: str
    iteration: int
    nbytes: int
    stall: float
    best: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run's end: how it ended ("finished", "interrupted", "failed"), and what was learned.

    ``folder`` is empty where the run directory is gone. ``commands`` says what may be typed next, and what for.
    """

    status: str
    folder: str
    iteration: int
    epoch: int
    seconds: float
    errors: Mapping[str, float] = field(default_factory=dict)
    message: str = ""
    commands: Mapping[str, str] = field(default_factory=dict)


Event = (
    Note
    | RunStarted
    | IterationDone
    | TaskProgress
    | EvaluationProgress
    | EvaluationDone
    | CheckpointWritten
    | RunFinished
)
Listener = Callable[[Event], None]
