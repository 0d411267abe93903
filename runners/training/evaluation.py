"""Evaluation: loss and errors over all images of a split, each image counted once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from netspec.data.pipeline import Pipeline
from netspec.errors import NetspecError
from netspec.events import EvaluationProgress, Listener
from netspec.runners.execution.session import NO_RATES, Session
from netspec.runners.training.prefetch import Batches, Prefetcher, SessionLike
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
    session: SessionLike, batches: Batches, names: tuple[str, str], emit: Listener, stop: Callable[[], bool]
) -> Measured | None:
    """What the cost layers report of the central crops; None when told to stop.

    Raises NetspecError where no image could be read.
    """
    began, tally = time.perf_counter(), Tally()
    shown, prefetcher = began, Prefetcher(session, batches.epoch(0), names, "eval")
    while (fetched := prefetcher.next()) is not None:
        if fetched.batch.valid:
            prefetcher.start(fetched, 0, NO_RATES)
            prefetcher.prefetch()
            tally.add(session.finish("eval").reports)
        fetched.batch.release()
        if stop():
            prefetcher.release()
            return None
        if time.perf_counter() - shown > _SHOW_EVERY_S:
            shown = time.perf_counter()
            emit(EvaluationProgress(tally.count, len(batches.split)))
    _refuse_none(tally.count, batches)
    emit(EvaluationProgress(tally.count, tally.count))
    return Measured(tally.loss, tally.errors, tally.count, 1, time.perf_counter() - began)


def evaluate_views(session: Session, batches: Pipeline, names: tuple[str, str], emit: Listener) -> Measured:
    """Loss and errors of the probabilities averaged over an image's views (paper, section 4.1).

    Raises NetspecError where no image could be read.
    """
    began, views, images = time.perf_counter(), batches.views, len(batches.split)
    total, seen = np.zeros((images, 0), np.float32), np.zeros(images, np.int64)
    for view in range(views):
        for batch in batches.epoch(0, view=view):
            rows, count = batch.indices[: batch.valid], batch.valid
            probs = session.predict({names[0]: batch.image}, count) if count else np.zeros((0, total.shape[1]))
            batch.release()
            if not total.shape[1]:
                total = np.zeros((images, probs.shape[1]), np.float32)
            total[rows] += probs
            seen[rows] += 1
        emit(EvaluationProgress((view + 1) * images // views, images))
    read = seen == views
    count = int(read.sum())
    _refuse_none(count, batches)
    loss, errors = judge(total[read] / views, batches.split.labels[read])
    return Measured(loss, errors, count, views, time.perf_counter() - began)


def judge(probs: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> tuple[float, dict[str, float]]:
    """Mean cross-entropy and the shares of images whose label is not first, or not among the first five; ties count.

    ``probs`` is (N, classes) and ``labels`` (N,), for at least one image.
    """
    own = probs[np.arange(len(labels)), labels][:, None]
    better = (probs >= own).sum(axis=1) - 1
    with np.errstate(divide="ignore"):
        loss = -np.log(own).mean()
    return float(loss), {"top1": float((better >= 1).mean()), "top5": float((better >= 5).mean())}


def _refuse_none(images: int, batches: Batches) -> None:
    if not images:
        examples = "".join(f"\n  {name}: {reason}" for name, reason in batches.broken[:5])
        raise NetspecError(f"none of the {len(batches.split):,} images to evaluate could be read{examples}")
