"""Evaluation and prediction from a checkpoint alone: its spec, its mean image and its classes, on any binding."""

from __future__ import annotations

import os
from collections.abc import Sequence
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
from netspec.events import EvaluationDone, Event, Listener, Note
from netspec.machine.cleanup import on_error
from netspec.planning.trainable import input_names
from netspec.registry import installed_faults
from netspec.rundir.directory import CHECKPOINTS
from netspec.rundir.run_files import Damaged
from netspec.runners.execution.replay import explain
from netspec.runners.execution.session import Session
from netspec.runners.recorded_plugins import load_again
from netspec.runners.training import checkpoint
from netspec.runners.training.checkpoint import Checkpoint
from netspec.runners.training.evaluation import Measured, evaluate, evaluate_views, rows_not_finite
from netspec.runners.training.nonfinite import NotFinite
from netspec.runners.training.request import with_data
from netspec.runners.training.saver import listed, ranked
from netspec.spec import from_canonical
from netspec.spec.types import Spec

PREDICTED_AT_ONCE = 32
_BROKEN_TOLD = 20


def find_checkpoint(path: Path) -> tuple[Checkpoint, list[Damaged]]:
    """A checkpoint file, or a run's best whole one, and what is wrong with better ones.

    Raises NetspecError where there is none. A run that trains meanwhile may delete a checkpoint that has been listed:
    then the folder is looked at again.
    """
    if not path.is_dir():
        return checkpoint.read(checkpoint.named(path)), []
    while True:
        before = listed(path / CHECKPOINTS)
        try:
            return _best_whole(path)
        except NetspecError:
            if listed(path / CHECKPOINTS) == before:
                raise


def _best_whole(run: Path) -> tuple[Checkpoint, list[Damaged]]:
    damaged: list[Damaged] = []
    for kept in ranked(run / CHECKPOINTS):
        try:
            return checkpoint.read(kept.path), damaged
        except Damaged as error:
            damaged.append(error)
    if damaged:
        raise NetspecError(f"{run}: no checkpoint is whole and finite:\n" + "\n".join(map(str, damaged)))
    raise NetspecError(f"{run}: no checkpoint there; give a run directory or a checkpoint file")


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
    found, recorded = _opened(path, binding, emit)
    emit(Note(f"{found.path}: iteration {found.record.iteration:,}"))
    spec = with_data(recorded, data, evaluated=True)
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
        try:
            done = _measured(phase, session, batches, input_names(spec), emit)
        except NotFinite as error:
            raise NotFinite(f"{found.path}: {error}") from error
        broken = [f"{split}: {name}: {reason}" for name, reason in batches.broken]
    if broken:
        emit(Note(_told_broken(broken, done.images)))
    record, result = found.record, (done.loss, done.errors, done.images, done.seconds)
    event = EvaluationDone(record.epoch, record.iteration, split, *result, broken=len(broken), views=done.views)
    emit(event)
    return event


def _measured(
    phase: Literal["eval", "predict"], session: Session, batches: Pipeline, names: tuple[str, str], emit: Listener
) -> Measured:
    if phase == "predict":
        return evaluate_views(session, batches, names, emit)
    done = evaluate(session, batches, names, emit, lambda: False, partial(explain, session))
    assert done is not None  # it is never told to stop
    return done


def predict_images(
    path: Path, images: Sequence[Any], binding: Binding, top: int, batch: int | None, listener: Listener | None
) -> list[Prediction]:
    """See ``netspec.api.predict``."""
    found, spec = _opened(path, binding, listener or _nobody)
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
            wrong = rows_not_finite(session, {name: crops}, probs)
            for row, reason in enumerate(reasons):
                reason = reason or wrong.get(row)
                best_first = () if reason else _top(probs[row], found.record.classes, top)
                words = tuple(found.record.words.get(name, "") for name, _ in best_first)
                predictions.append(Prediction(_path_of(some[row], start + row), best_first, reason, words))
    return predictions


def _nobody(event: Event) -> None:
    """Nobody listens."""


def _opened(path: Path, binding: Binding, emit: Listener) -> tuple[Checkpoint, Spec]:
    """The checkpoint and its spec; the plugins that it was made with are loaded, and what is odd is told."""
    found, damaged = find_checkpoint(path)
    plugins = load_again(found.record.plugins, binding.plugins, path if path.is_dir() else None)
    changes = (f"changed: {change}" for change in plugins.changes)
    passed = (f"{error}; passed over" for error in damaged)
    for note in (*passed, *plugins.notes, *changes, *installed_faults()):
        emit(Note(note))
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
