"""Evaluation: loss and errors over all images of a split, each image counted once."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from netspec.contract.kernel import Phase
from netspec.events import EvaluationProgress, Listener
from netspec.machine.cleanup import on_exit
from netspec.metrics import BatchSums, Totals
from netspec.runners.execution.replay import explain
from netspec.runners.execution.session import NO_RATES, Host, Outcome, Session
from netspec.runners.training import nonfinite
from netspec.runners.training.measuring import NOTHING, Measuring
from netspec.runners.training.nonfinite import Explain
from netspec.runners.training.prefetch import Arrays, Batches, Fetched, Prefetcher, SessionLike
from netspec.runners.training.tally import Reports, Tally

_SHOW_EVERY_S = 0.1
Told = tuple[Reports, str, BatchSums]
"""The reports of an evaluated batch, what more is known where they are not finite, and the sums of its metrics."""
Merged = Callable[[Told | None], list[Told]]


@dataclass(frozen=True, slots=True)
class Measured:
    """Mean loss and errors by name, of how many images, each seen in how many views, and the seconds."""

    loss: float
    errors: dict[str, float]
    images: int
    views: int
    seconds: float


def own(told: Told | None) -> list[Told]:
    """What one process has told, where it is the only one."""
    return [] if told is None else [told]


def evaluate(
    session: SessionLike,
    batches: Batches,
    names: tuple[str | None, str | None],
    emit: Listener,
    stop: Callable[[], bool],
    explain: Explain | None = None,
    merged: Merged = own,
    measuring: Measuring = NOTHING,
) -> Measured | None:
    """What the cost layers report of the central crops, and metrics come to; None when told to stop.

    ``merged`` gives the reports of all processes that evaluate, batch by batch, in the order of the batches.

    Raises NotFinite where a sum is not finite, NetspecError where no image could be read.
    """
    began, tally, shown = time.perf_counter(), Tally(), Shown(emit, len(batches.split))
    totals = Totals(measuring.metrics)
    with closing(forward(session, batches, names, "eval")) as steps:
        for fetched, outcome in steps:
            told = None
            if outcome is not None:
                answers = session.answer("eval", fetched.batch.valid) if totals else None
                sums = measuring.sums(answers, fetched.arrays)
                told = (outcome.reports, explained(explain, fetched, outcome.reports), sums)
            for reports, why, sums in merged(told):
                nonfinite.check_reports(reports, why)
                tally.add(reports)
                totals.add(sums)
            if stop():
                return None
            shown(tally.count)
    if not tally.count:
        raise nonfinite.none_readable(len(batches.split), batches.broken)
    emit(EvaluationProgress(tally.count, tally.count))
    return Measured(tally.loss, tally.errors | totals.values(), tally.count, 1, time.perf_counter() - began)


def forward(
    session: SessionLike, batches: Batches, names: tuple[str | None, str | None], phase: Phase
) -> Generator[tuple[Fetched, Outcome | None], None, None]:
    """Forward all batches of a split; while devices work on one the next is on its way to them.

    Gives each batch, whose buffer holds until the next is asked for, and what came of it: None of one without images.
    """
    prefetcher = Prefetcher(session, batches.epoch(0), names, phase)
    with on_exit(prefetcher.release):
        while (fetched := prefetcher.next()) is not None:
            with on_exit(fetched.batch.release):
                outcome = None
                if fetched.batch.valid:
                    prefetcher.start(fetched, 0, NO_RATES)
                    prefetcher.prefetch()
                    outcome = session.finish(phase)
                yield fetched, outcome


class Shown:
    """Tells how many images have been evaluated, some times a second."""

    def __init__(self, emit: Listener, total: int) -> None:
        self._emit, self._total, self._at = emit, total, time.perf_counter()

    def __call__(self, images: int) -> None:
        """So many by now."""
        if time.perf_counter() - self._at > _SHOW_EVERY_S:
            self._at = time.perf_counter()
            self._emit(EvaluationProgress(images, self._total))


def rows_not_finite(session: Session, arrays: Arrays, probs: Host, what: str = "probabilities") -> dict[int, str]:
    """The rows whose probabilities, or whatever they are, are not finite, and why."""
    rows = np.flatnonzero(~np.isfinite(probs.reshape(len(probs), -1)).all(axis=1))
    if not rows.size:
        return {}
    more = explain(session, arrays, 0, len(probs), phase="predict")
    reason = f"its {what} are not finite" + (f"; {more}" if more else "")
    return dict.fromkeys(map(int, rows), reason)


def explained(explain: Explain | None, fetched: Fetched, reports: Reports) -> str:
    """Where the numbers of a batch ceased to be finite, if its reports did."""
    if explain is None or nonfinite.are_finite(reports):
        return ""
    return explain(fetched.arrays, 0, fetched.batch.valid, NO_RATES, "eval")
