"""Evaluation: loss and errors over all images of a split, each image counted once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from netspec.data.pipeline import Pipeline
from netspec.events import EvaluationProgress, Listener
from netspec.runners.execution.replay import explain
from netspec.runners.execution.session import NO_RATES, Host, Session
from netspec.runners.training import nonfinite
from netspec.runners.training.nonfinite import Explain, NotFinite
from netspec.runners.training.prefetch import Arrays, Batches, Fetched, Prefetcher, SessionLike
from netspec.runners.training.tally import Tally

_SHOW_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Measured:
    """Mean loss and errors in [0, 1] by name, of how many images, each seen in how many views, and the seconds."""

    loss: float
    errors: dict[str, float]
    images: int
    views: int
    seconds: float


def evaluate(
    session: SessionLike,
    batches: Batches,
    names: tuple[str, str],
    emit: Listener,
    stop: Callable[[], bool],
    explain: Explain | None = None,
) -> Measured | None:
    """What the cost layers report of the central crops; None when told to stop.

    Raises NotFinite where a sum is not finite, NetspecError where no image could be read.
    """
    began, tally = time.perf_counter(), Tally()
    shown, prefetcher = began, Prefetcher(session, batches.epoch(0), names, "eval")
    while (fetched := prefetcher.next()) is not None:
        if fetched.batch.valid:
            prefetcher.start(fetched, 0, NO_RATES)
            prefetcher.prefetch()
            reports = session.finish("eval").reports
            nonfinite.check_reports(reports, partial(_explained, explain, fetched))
            tally.add(reports)
        fetched.batch.release()
        if stop():
            prefetcher.release()
            return None
        if time.perf_counter() - shown > _SHOW_EVERY_S:
            shown = time.perf_counter()
            emit(EvaluationProgress(tally.count, len(batches.split)))
    if not tally.count:
        raise nonfinite.none_readable(len(batches.split), batches.broken)
    emit(EvaluationProgress(tally.count, tally.count))
    return Measured(tally.loss, tally.errors, tally.count, 1, time.perf_counter() - began)


def evaluate_views(session: Session, batches: Pipeline, names: tuple[str, str], emit: Listener) -> Measured:
    """Loss and errors of the probabilities averaged over an image's views (paper, section 4.1).

    Raises NotFinite where a probability is not finite, NetspecError where no image could be read.
    """
    began, views, images = time.perf_counter(), batches.views, len(batches.split)
    total, seen = np.zeros((images, 0), np.float32), np.zeros(images, np.int64)
    for view in range(views):
        for batch in batches.epoch(0, view=view):
            rows, count = batch.indices[: batch.valid], batch.valid
            probs = session.predict({names[0]: batch.image}, count) if count else np.zeros((0, total.shape[1]))
            for row, reason in rows_not_finite(session, {names[0]: batch.image}, probs).items():
                raise NotFinite(f"{batches.split.name(rows[row])}: {reason}")
            batch.release()
            if not total.shape[1]:
                total = np.zeros((images, probs.shape[1]), np.float32)
            total[rows] += probs
            seen[rows] += 1
        emit(EvaluationProgress((view + 1) * images // views, images))
    read = seen == views
    if not read.any():
        raise nonfinite.none_readable(images, batches.broken)
    loss, errors = judge(total[read] / views, batches.split.labels[read])
    return Measured(loss, errors, int(read.sum()), views, time.perf_counter() - began)


def judge(probs: Host, labels: Host) -> tuple[float, dict[str, float]]:
    """Mean cross-entropy and the shares of images whose label is not first, or not among the first five; ties count.

    ``probs`` is (N, classes) and ``labels`` (N,), for at least one image. A probability that is too small for float32
    counts as the smallest one that is not.
    """
    own = probs[np.arange(len(labels)), labels][:, None]
    better = (probs >= own).sum(axis=1) - 1
    loss = -np.log(np.maximum(own, np.finfo(np.float32).smallest_subnormal)).mean()
    return float(loss), {"top1": float((better >= 1).mean()), "top5": float((better >= 5).mean())}


def rows_not_finite(session: Session, arrays: Arrays, probs: Host) -> dict[int, str]:
    """The rows whose probabilities are not finite, and why."""
    rows = np.flatnonzero(~np.isfinite(probs).all(axis=1))
    if not rows.size:
        return {}
    more = explain(session, arrays, 0, len(probs), phase="predict")
    reason = "its probabilities are not finite" + (f"; {more}" if more else "")
    return dict.fromkeys(map(int, rows), reason)


def _explained(explain: Explain | None, fetched: Fetched) -> str:
    return explain(fetched.arrays, 0, fetched.batch.valid, NO_RATES, "eval") if explain else ""
