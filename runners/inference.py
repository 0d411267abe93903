"""Prediction from a checkpoint alone: its spec, its mean image and its classes, on any binding."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from netspec._types import Binding, Prediction
from netspec.data.decode import Geometry, geometry_for
from netspec.data.frames import show_content
from netspec.data.image_files import image_files
from netspec.data.source import BrokenImage, read_regular_file
from netspec.data.workers.fetch import VIEWS
from netspec.events import Listener, Note
from netspec.machine.tasks import task
from netspec.planning.trainable import only_image
from netspec.runners.trained import nobody, open_trained
from netspec.runners.training.evaluation import rows_not_finite

if TYPE_CHECKING:
    from netspec.data.source import Content

PREDICTED_AT_ONCE = 32


def predict_images(
    path: Path, images: Sequence[Any], binding: Binding, top: int, batch: int | None, listener: Listener | None
) -> list[Prediction]:
    """See ``netspec.api.predict``."""
    emit = listener or nobody
    images, notes = image_files(images)
    trained = open_trained(path, binding, emit)
    for note in notes:
        emit(Note(note))
    if not images:
        return []
    spec, classes = trained.spec, trained.record.classes
    size = min(batch or PREDICTED_AT_ONCE, len(images))
    name = only_image(spec)
    geometry = geometry_for(spec.data, spec.inputs[name].shape)
    crops = np.zeros((size, *spec.inputs[name].shape), np.uint8)
    predictions: list[Prediction] = []
    with trained.session(binding, "predict", size, nobody) as session, task("predicting images", len(images)) as tell:
        for start in range(0, len(images), size):
            some = images[start : start + size]
            reasons = [_crop(image, geometry, crops[row]) for row, image in enumerate(some)]
            probs = session.predict({name: crops}, len(some))
            numeric = session.plans["predict"].numbers
            wrong = rows_not_finite(session, {name: crops}, probs, "numbers" if numeric else "probabilities")
            for row, reason in enumerate(reasons):
                reason = reason or wrong.get(row)
                if numeric:
                    numbers = () if reason else tuple(probs[row].tolist())
                    predictions.append(Prediction(_path_of(some[row], start + row), (), reason, numbers=numbers))
                    continue
                best_first = () if reason else _top(probs[row], classes, top)
                words = tuple(trained.record.words.get(name, "") for name, _ in best_first)
                predictions.append(Prediction(_path_of(some[row], start + row), best_first, reason, words))
            tell(len(some))
    return predictions


def _crop(image: Any, geometry: Geometry, out: np.ndarray[Any, Any]) -> str | None:
    """Write the image's central crop; the reason where it cannot be read, and black instead."""
    try:
        show_content(_pixels(image), geometry, VIEWS[:1], out[None])
    except (BrokenImage, OSError) as error:
        out[:] = 0
        return error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return None


def _pixels(image: Any) -> Content:
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, np.ndarray) and image.ndim == 4:
        return tuple(map(_picture, image))
    if isinstance(image, np.ndarray):
        return _picture(image)
    return read_regular_file(os.fsencode(image))


def _picture(image: np.ndarray[Any, Any]) -> Image.Image:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (1,), (3,), (4,)):
        raise BrokenImage(f"an array must be uint8 of shape (H, W) or (H, W, 3), got {image.dtype} {image.shape}")
    return Image.fromarray(image[:, :, 0] if image.shape[2:] == (1,) else image)


def _path_of(image: Any, number: int) -> str:
    return os.fsdecode(image) if isinstance(image, str | bytes | os.PathLike) else f"image {number}"


def _top(probs: np.ndarray[Any, Any], classes: Sequence[str], top: int) -> tuple[tuple[str, float], ...]:
    order = np.argsort(-probs, kind="stable")[:top]
    return tuple(_named(int(index), float(probs[index]), classes) for index in order)


def _named(index: int, probability: float, classes: Sequence[str]) -> tuple[str, float]:
    return (classes[index] if index < len(classes) else f"output {index}"), probability
