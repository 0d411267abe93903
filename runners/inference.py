"""Evaluation and prediction from a checkpoint alone: its spec, its mean image and its classes, on any binding."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from PIL import Image

from netspec._types import Binding, Prediction
from netspec.data.dataset import open_split
from netspec.data.decode import Geometry, centre, crop_image, geometry_for
from netspec.data.pipeline import Pipeline
from netspec.data.source import BrokenImage, read_regular_file
from netspec.data.workers.pool import workers_note
from netspec.errors import NetspecError
from netspec.events import EvaluationDone, EvaluationProgress, Event, Listener, Note
from netspec.machine.cleanup import on_error
from netspec.registry import load_plugin
from netspec.rundir.files import Damaged
from netspec.runners.execution.replay import explain
from netspec.runners.execution.session import Session
from netspec.runners.training import checkpoint
from netspec.runners.training.checkpoint import Checkpoint
from netspec.runners.training.loop import evaluate, input_names
from netspec.runners.training.nonfinite import NotFinite, none_readable
from netspec.runners.training.request import with_data
from netspec.runners.training.saver import ranked
from netspec.spec import from_canonical
from netspec.spec.types import Spec

PREDICTED_AT_ONCE = 32
_BROKEN_TOLD = 20


def find_checkpoint(path: Path, emit: Listener) -> Checkpoint:
    """A checkpoint file, or of a run's checkpoints the best one that is whole and finite; others are told.

    Raises NetspecError where there is none.
    """
    if not path.is_dir():
        return checkpoint.read(checkpoint.named(path))
    damaged = []
    for kept in ranked(path / "checkpoints"):
        try:
            return checkpoint.read(kept.path)
        except Damaged as error:
            damaged.append(str(error))
            emit(Note(f"{error}; passed over"))
    if damaged:
        raise NetspecError("\n".join((f"{path}: no checkpoint is whole and finite:", *damaged)))
    raise NetspecError(f"{path}: no checkpoint there; give a run directory or a checkpoint file")


def evaluate_checkpoint(
    path: Path,
    binding: Binding,
    data: str | Path | None,
    split: Literal["train", "val"],
    views: int | None,
    batch: int | None,
    workers: int | None,
    listener: Listener | None,
) -> EvaluationDone:
    """See ``netspec.api.evaluate``."""
    emit = listener or _nobody
    found, spec = _opened(path, binding, emit)
    spec = with_data(spec, data, evaluated=True)
    if views not in (None, 1, 10):
        raise NetspecError(f"views must be 1 or 10, got {views}")
    spec = replace(spec, data=replace(spec.data, views=cast(Literal[1, 10], views or spec.data.views)))
    opened = open_split(spec.data, spec.train.seed, split, found.record.classes)
    slow = workers_note(spec.data.workers if workers is None else workers)
    for note in (*opened.notes, *([slow] if slow else [])):
        emit(Note(note))
    images = opened.split
    size = min(batch or spec.train.batch, len(images))
    shape = spec.inputs[input_names(spec)[0]].shape
    phase: Literal["eval", "predict"] = "eval" if spec.data.views == 1 else "predict"
    with (
        Pipeline(images, spec.data, "val", size, shape, spec.train.seed, workers) as batches,
        _session(found, spec, binding, phase, size, emit) as session,
    ):
        work = _by_reports if phase == "eval" else _by_views
        try:
            loss, errors, count, seconds = work(session, batches, input_names(spec), emit)
        except NotFinite as error:
            raise NotFinite(f"{found.path}: {error}") from error
        broken = [f"{split}: {name}: {reason}" for name, reason in batches.broken]
    if broken:
        emit(Note(_told_broken(broken, count)))
    done = EvaluationDone(found.record.epoch, found.record.iteration, split, loss, errors, count, seconds, len(broken))
    emit(done)
    return done


def predict_images(
    path: Path, images: Sequence[Any], binding: Binding, top: int, batch: int | None
) -> list[Prediction]:
    """See ``netspec.api.predict``."""
    found, spec = _opened(path, binding, _nobody)
    if not images:
        return []
    size = min(batch or PREDICTED_AT_ONCE, len(images))
    name, _ = input_names(spec)
    geometry = geometry_for(spec.data, spec.inputs[name].shape)
    crops = np.zeros((size, geometry.height, geometry.width, geometry.channels), np.uint8)
    predictions: list[Prediction] = []
    with _session(found, spec, binding, "predict", size, _nobody) as session:
        for start in range(0, len(images), size):
            some = images[start : start + size]
            reasons = [_crop(image, geometry, crops[row]) for row, image in enumerate(some)]
            probs = session.predict({name: crops}, len(some))
            wrong = _not_finite(session, {name: crops}, probs)
            for row, reason in enumerate(reasons):
                reason = reason or wrong.get(row)
                best_first = () if reason else _top(probs[row], found.record.classes, top)
                predictions.append(Prediction(_path_of(some[row], start + row), best_first, reason))
    return predictions


def _nobody(event: Event) -> None:
    """Nobody listens."""


def _opened(path: Path, binding: Binding, emit: Listener) -> tuple[Checkpoint, Spec]:
    """The checkpoint and its spec."""
    for plugin in binding.plugins:
        load_plugin(plugin)
    found = find_checkpoint(path, emit)
    emit(Note(f"{found.path}: iteration {found.record.iteration:,}"))
    return found, from_canonical(found.record.spec, str(found.path))


def _session(
    found: Checkpoint, spec: Spec, binding: Binding, phase: Literal["eval", "predict"], batch: int, emit: Listener
) -> Session:
    """A session with the checkpoint's parameters; its momentum is left aside."""
    session = Session(spec, binding.names, runner=binding.runner, phases=(phase,), eval_batch=batch)
    with on_error(session.close):
        wanted = session.store.shapes()
        try:
            session.store.load({name: array for name, array in found.tensors.items() if name in wanted})
        except NetspecError as error:
            raise NetspecError(f"{found.path}: {error}") from error
    for note in session.notes:
        emit(Note(note))
    return session


def _told_broken(broken: Sequence[str], counted: int) -> str:
    """Which images could not be read, and over how many the figures are."""
    count = len(broken)
    head = f"{count:,} of {counted + count:,} images could not be read; the figures are over the other {counted:,}"
    more = [f"and {count - _BROKEN_TOLD:,} more"] if count > _BROKEN_TOLD else []
    return "\n  ".join([f"{head}:", *broken[:_BROKEN_TOLD], *more])


Measured = tuple[float, dict[str, float], int, float]
"""Loss, errors, images, seconds."""


def _by_reports(session: Session, batches: Pipeline, names: tuple[str, str], emit: Listener) -> Measured:
    """Sums of what the cost layers report."""
    done = evaluate(session, batches, names, emit, lambda: False, partial(explain, session))
    assert done is not None
    tally, seconds = done
    return tally.loss, tally.errors, tally.count, seconds


def _by_views(session: Session, batches: Pipeline, names: tuple[str, str], emit: Listener) -> Measured:
    """Loss and errors of the probabilities averaged over an image's views (paper, section 4.1)."""
    began, views = time.perf_counter(), batches.views
    images = len(batches.split)
    total, seen = np.zeros((images, 0), np.float32), np.zeros(images, np.int64)
    for view in range(views):
        for batch in batches.epoch(0, view=view):
            rows, count = batch.indices[: batch.valid], batch.valid
            probs = session.predict({names[0]: batch.image}, count) if count else np.zeros((0, total.shape[1]))
            for row, reason in _not_finite(session, {names[0]: batch.image}, probs).items():
                raise NotFinite(f"{batches.split.name(rows[row])}: {reason}")
            batch.release()
            if not total.shape[1]:
                total = np.zeros((images, probs.shape[1]), np.float32)
            total[rows] += probs
            seen[rows] += 1
        emit(EvaluationProgress((view + 1) * images // views, images))
    read = seen == views
    if not read.any():
        raise none_readable(images, batches.broken)
    loss, errors = _judge(total[read] / views, batches.split.labels[read])
    return loss, errors, int(read.sum()), time.perf_counter() - began


def _judge(probs: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> tuple[float, dict[str, float]]:
    """Mean cross-entropy and the shares of images whose label is not first, or not among the first five; ties count.

    A probability that is too small for float32 counts as the smallest one that is not.
    """
    own = probs[np.arange(len(labels)), labels][:, None]
    better = (probs >= own).sum(axis=1) - 1
    loss = -np.log(np.maximum(own, np.finfo(np.float32).smallest_subnormal)).mean()
    return float(loss), {"top1": float((better >= 1).mean()), "top5": float((better >= 5).mean())}


def _not_finite(
    session: Session, arrays: Mapping[str, np.ndarray[Any, Any]], probs: np.ndarray[Any, Any]
) -> dict[int, str]:
    """The rows whose probabilities are not finite, and why."""
    rows = np.flatnonzero(~np.isfinite(probs).all(axis=1))
    if not rows.size:
        return {}
    more = explain(session, arrays, 0, len(probs), phase="predict")
    reason = "its probabilities are not finite" + (f"; {more}" if more else "")
    return dict.fromkeys(map(int, rows), reason)


def _crop(image: Any, geometry: Geometry, out: np.ndarray[Any, Any]) -> str | None:
    """Write the image's central crop; the reason where it cannot be read, and black instead."""
    try:
        crop_image(_pixels(image), geometry, centre, False, out)
    except (BrokenImage, OSError) as error:
        out[:] = 0
        return error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return None


def _pixels(image: Any) -> bytes | Image.Image:
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (1,), (3,), (4,)):
            raise BrokenImage(f"an array must be uint8 of shape (H, W) or (H, W, 3), got {image.dtype} {image.shape}")
        return Image.fromarray(image[:, :, 0] if image.shape[2:] == (1,) else image)
    return read_regular_file(os.fsencode(image))


def _path_of(image: Any, number: int) -> str:
    return os.fsdecode(image) if isinstance(image, str | bytes | os.PathLike) else f"image {number}"


def _top(probs: np.ndarray[Any, Any], classes: Sequence[str], top: int) -> tuple[tuple[str, float], ...]:
    order = np.argsort(-probs, kind="stable")[:top]
    return tuple(_named(int(index), float(probs[index]), classes) for index in order)


def _named(index: int, probability: float, classes: Sequence[str]) -> tuple[str, float]:
    return (classes[index] if index < len(classes) else f"output {index}"), probability
