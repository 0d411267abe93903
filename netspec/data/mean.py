"""What is found out about the training images in one pass: the mean image, and the components of their colours.

The mean image is subtracted from every crop (paper, section 2), multiples of the components are added to the colours
(section 4.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from netspec.data.augment import tint_of
from netspec.data.kept_statistics import kept_statistics
from netspec.data.pipeline import Pipeline
from netspec.data.settings import DataSpec
from netspec.data.shuffle import sample
from netspec.data.source import Split
from netspec.data.statistics import Moments, Statistics
from netspec.machine.tasks import task

_BATCH = 64


def mean_image(
    train: Split, data: DataSpec, image_shape: Sequence[int], seed: int, workers: int | None = None
) -> NDArray[np.float32]:
    """What ``data.mean`` says to subtract, float32 (H, W, C), in grey levels from 0 to 255.

    ``image``: the mean of the central crops of at most 10,000 training images chosen by the seed, in one pass; the same
    whatever crop it is subtracted from, as in 2012. ``channel``: that, averaged over the places. ``none``: zeros. Of
    sequences (F, H, W, C), each frame counts as an image, and the same is subtracted from all. Sums are exact integers,
    so the order of the images does not matter. Where statistics of all training images are kept, see
    ``kept_statistics``, the mean is of all. Raises NetspecError where no image can be read.
    """
    if data.mean == "none":
        return np.zeros(tuple(image_shape), np.float32)
    if kept := kept_statistics(train, data, image_shape):
        return _subtracted(kept.mean, data, image_shape)
    total, count = np.zeros(tuple(image_shape[-3:]), np.uint64), 0
    for images in _crops(train, data, image_shape, seed, workers):
        total += images.sum(axis=0, dtype=np.uint32)
        count += len(images)
    return _subtracted(total / count, data, image_shape)


def image_constants(
    train: Split, data: DataSpec, image_shape: Sequence[int], seed: int, workers: int | None = None
) -> dict[str, NDArray[np.float32]]:
    """What the device needs to know of the images, by name: ``mean``, see ``mean_image``, and where a tint is used its
    ``components`` (C, C), of the same images and in the same pass.

    Raises NetspecError where no image can be read.
    """
    tint = tint_of(data)
    if tint is None:
        return {"mean": mean_image(train, data, image_shape, seed, workers)}
    found = kept_statistics(train, data, image_shape) or _statistics(train, data, image_shape, seed, workers)
    none = data.mean == "none"
    mean = np.zeros(tuple(image_shape), np.float32) if none else _subtracted(found.mean, data, image_shape)
    return {"mean": mean, "components": tint.components(found.eigenvalues, found.eigenvectors)}


def _statistics(
    train: Split, data: DataSpec, image_shape: Sequence[int], seed: int, workers: int | None
) -> Statistics:
    moments = Moments(image_shape[-3:])
    for images in _crops(train, data, image_shape, seed, workers):
        moments.add(images)
    return moments.statistics()


def _crops(
    train: Split, data: DataSpec, image_shape: Sequence[int], seed: int, workers: int | None
) -> Iterator[NDArray[np.uint8]]:
    """Batches of the central crops of the chosen images; each frame of a sequence is one."""
    chosen = train.part(sample(len(train), train.mean_images, seed))
    plain = replace(data, views=1)
    with (
        task("averaging training images", len(chosen)) as tell,
        Pipeline(chosen, plain, "val", min(_BATCH, len(chosen)), image_shape, seed, workers) as pipeline,
    ):
        for batch in pipeline.epoch(0):
            yield batch.image[: batch.valid].reshape(-1, *image_shape[-3:])
            tell(batch.valid)
            batch.release()


def _subtracted(mean: NDArray[np.float64], data: DataSpec, shape: Sequence[int]) -> NDArray[np.float32]:
    found = mean if data.mean == "image" else mean.mean(axis=(0, 1))
    return np.broadcast_to(found, tuple(shape)).astype(np.float32)
