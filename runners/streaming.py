"""A set of images streamed through a trained network, batch by batch: what evaluation and features are made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from netspec._types import Binding
from netspec.contract.kernel import Phase
from netspec.data.dataset import EvaluationSet, open_dataset, open_split
from netspec.data.pipeline import Pipeline
from netspec.data.settings import VIEW_COUNTS, ViewCount
from netspec.data.source import Split
from netspec.data.workers.pool import workers_note
from netspec.errors import NetspecError, SpecError
from netspec.evaluation.image_results import Views
from netspec.events import EvaluationProgress, Listener, Note
from netspec.planning.trainable import inputs_read, set_problems
from netspec.runners.execution.replay import explain
from netspec.runners.execution.session import Outcome, Session
from netspec.runners.trained import Trained, open_trained
from netspec.runners.training import nonfinite
from netspec.runners.training.evaluation import Shown, explained, forward, rows_not_finite
from netspec.runners.training.nonfinite import NotFinite
from netspec.runners.training.prefetch import Fetched
from netspec.runners.training.request import with_data
from netspec.runners.training.resume import fingerprint, is_recorded
from netspec.runners.training.tally import Tally
from netspec.spec.types import Spec

Indices = NDArray[np.int64]
Rows = NDArray[np.float32]
Take = Callable[[Indices, Rows], object]
"""Hears the places of some images in the set, and what the network gives for them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be evaluated, and how; see ``netspec.api.evaluate``."""

    binding: Binding
    data: str | Path | None = None
    split: Literal["train", "val"] = "val"
    views: int | None = None
    batch: int | None = None
    workers: int | None = None
    top: int = 5
    probabilities: bool = False
    metrics: Sequence[str | Mapping[str, object]] = ()


def open_all(paths: Sequence[Path], asked: Asked, emit: Listener) -> list[Trained]:
    """The networks of these runs or checkpoints; of several no parameters are held before their turn comes."""
    if not paths:
        raise NetspecError("name a run or a checkpoint to evaluate")
    if asked.views not in (None, *VIEW_COUNTS):
        raise NetspecError(f"views must be 1, 2 or 10, got {asked.views}")
    if asked.top < 1:
        raise NetspecError(f"top must be 1 or more, got {asked.top}")
    opened = []
    for path in paths:
        network = open_trained(path, asked.binding, emit)
        emit(Note(f"{network.file}: iteration {network.record.iteration:,}"))
        opened.append(network if len(paths) == 1 else network.without_tensors())
    return opened


def open_images(network: Trained, asked: Asked, emit: Listener) -> Split:
    """The set that is asked for, or else the network's own, with labels in the order of the network's classes.

    Where a run has held out some of its images, they are found again in the same set at another place.
    """
    spec, opened = _open_asked(network, asked)
    if problems := list(set_problems(spec, opened.split.arrays, opened.split.number_count)):
        raise SpecError(problems)
    slow = workers_note(spec.data.workers if asked.workers is None else asked.workers)
    for note in (*opened.notes, *([slow] if slow else [])):
        emit(Note(note))
    return opened.split


def _open_asked(network: Trained, asked: Asked) -> tuple[Spec, EvaluationSet]:
    classes, seed, held = network.record.classes, network.spec.train.seed, network.spec.data.split
    if asked.data is not None and held:
        with suppress(NetspecError):
            own = with_data(network.spec, asked.data)
            same = open_dataset(own.data, seed)
            images = same.train if asked.split == "train" else same.val
            if images is not None and fingerprint(same) == network.record.data:
                return own, EvaluationSet(images, (*same.notes, "these are the run's images, at another place"))
    spec = with_data(network.spec, asked.data, evaluated=True)
    found = open_split(spec.data, seed, asked.split, classes)
    if asked.data is None and held and not is_recorded(network.record, asked.split, found.split):
        found = EvaluationSet(found.split, (*found.notes, _OTHERS))
    return spec, found


_OTHERS = (
    "images were added, removed or renamed since the run: others are held out than then, and some may be trained on"
)


@dataclass(frozen=True, slots=True)
class Streamed:
    """How a set went through a network: the cost layers' reports, and names and reasons of images not read."""

    tally: Tally
    images: int
    broken: Sequence[tuple[str, str]]
    seconds: float


def stream(
    network: Trained,
    images: Split,
    views: int,
    asked: Asked,
    emit: Listener,
    take: Take | None,
    spec: Spec | None = None,
) -> Streamed:
    """Forward a set through a network; ``take`` hears what it gives for each image, averaged over the views.

    ``spec`` is another network with this one's parameters, of which ``take`` hears the last layer. Raises NotFinite
    where a number is not finite, NetspecError where no image can be read.
    """
    tally, merged, count = Tally(), Views(views), 0
    phase: Phase = "eval" if views == 1 and spec is None else "predict"
    batch = min(asked.batch or network.spec.replica_batch, len(images) * views)
    what = "probabilities" if spec is None else "features"
    data, read = replace(network.spec.data, views=cast(ViewCount, views)), inputs_read(network.spec)
    shown, rest = Shown(emit, len(images)), (network.spec.train.seed, asked.workers, read.more)
    with (
        Pipeline(images, data, "val", batch, read.shape, *rest) as batches,
        network.session(asked.binding, phase, batch, emit, spec) as session,
        closing(forward(session, batches, read[:2], phase)) as steps,
    ):
        began = time.perf_counter()
        for fetched, outcome in steps:
            if outcome is not None:
                indices, rows = _checked(session, phase, fetched, outcome, images, what)
                tally.add(outcome.reports)
                if take is not None and rows is not None:
                    take(*merged.add(indices, rows))
                count += fetched.batch.valid
                shown(count // views)
        broken, seconds = batches.broken, time.perf_counter() - began
    if not count:
        raise nonfinite.none_readable(len(images), broken)
    emit(EvaluationProgress(count // views, count // views))
    return Streamed(tally, count // views, broken, seconds)


def _checked(
    session: Session, phase: Phase, fetched: Fetched, outcome: Outcome, images: Split, what: str
) -> tuple[Indices, Rows | None]:
    """The places of a batch's images and what the network gives for them, which is finite."""
    valid, reports = fetched.batch.valid, outcome.reports
    nonfinite.check_reports(reports, explained(partial(explain, session), fetched, reports))
    indices, rows = fetched.batch.indices[:valid], session.answer(phase, valid)
    if phase == "predict" and rows is not None:
        for row, reason in rows_not_finite(session, fetched.arrays, rows, what).items():
            raise NotFinite(f"{images.name(int(indices[row]))}: {reason}")
    return indices, rows
