"""What is found out about the training images in one pass: the mean image, and the components of their colours.

The mean image is subtracted from every crop (paper, section 2), multiples of the components are added to the colours
(section 4.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from netspec.data.augment import tint_of
from netspec.data.kept_statistics import kept_statistics
from netspec.data.pipeline import Batch, Pipeline
from netspec.data.settings import DataSpec
from netspec.data.shuffle import sample
from netspec.data.source import Split
from netspec.data.statistics import Moments, Statistics
from netspec.machine.cleanup import on_error
from netspec.machine.tasks import task

_BATCH = 64


class ImageConstants:
    """What the device needs to know of the images of a network input; reading them begins when this is made.

    The mean image is what ``data.mean`` says to subtract, float32 (H, W, C), in grey levels from 0 to 255. ``image``:
    the mean of the central crops of at most 10,000 training images chosen by the seed, in one pass; the same whatever
    crop it is subtracted from, as in 2012. ``channel``: that, averaged over the places. ``none``: zeros. Of sequences
    (F, H, W, C), each frame counts as an image, and the same is subtracted from all. Sums are exact integers, so the
    order of the images does not matter. Where statistics of all training images are kept, see ``kept_statistics``, the
    mean is of all.
    """

    def __init__(
        self, train: Split, data: DataSpec, image_shape: Sequence[int], seed: int, workers: int | None = None
    ) -> None:
        """Raises NetspecError where the workers cannot be started."""
        self._data, self._shape, self._tint = data, tuple(image_shape), tint_of(data)
        needed = data.mean != "none" or self._tint is not None
        self._kept = kept_statistics(train, data, image_shape) if needed else None
        self._crops: Pipeline | None = None
        self._batches: Iterator[Batch] = iter(())
        if needed and self._kept is None:
            chosen = train.part(sample(len(train), train.mean_images, seed))
            plain, batch = replace(data, views=1), min(_BATCH, len(chosen))
            self._crops = Pipeline(chosen, plain, "val", batch, image_shape, seed, workers)
            with on_error(self._crops.close):
                self._batches = self._crops.epoch(0)

    def found(self) -> dict[str, NDArray[np.float32]]:
        """By name: ``mean`` and, where a tint is used, its ``components`` (C, C), of the same images.

        Waits for the images, once. Raises NetspecError where none can be read.
        """
        if self._tint is None:
            return {"mean": self._mean()}
        found = self._kept or self._statistics()
        return {"mean": self._subtracted(found.mean), "components": self._tint.components(*found[-2:])}

    def close(self) -> None:
        """Stop reading."""
        if self._crops is not None:
            self._crops.close()

    def _mean(self) -> NDArray[np.float32]:
        if self._kept or self._crops is None:
            return self._subtracted(self._kept.mean if self._kept else np.zeros(self._shape[-3:]))
        total, count = np.zeros(self._shape[-3:], np.uint64), 0
        for images in self._read():
            total += images.sum(axis=0, dtype=np.uint32)
            count += len(images)
        return self._subtracted(total / count)

    def _statistics(self) -> Statistics:
        moments = Moments(self._shape[-3:])
        for images in self._read():
            moments.add(images)
        return moments.statistics()

    def _read(self) -> Iterator[NDArray[np.uint8]]:
        """Batches of the central crops of the chosen images; each frame of a sequence is one."""
        assert self._crops is not None
        with task("averaging training images", len(self._crops.split)) as tell:
            for batch in self._batches:
                yield batch.image[: batch.valid].reshape(-1, *self._shape[-3:])
                tell(batch.valid)
                batch.release()
        self.close()

    def _subtracted(self, mean: NDArray[np.float64]) -> NDArray[np.float32]:
        if self._data.mean == "none":
            return np.zeros(self._shape, np.float32)
        found = mean if self._data.mean == "image" else mean.mean(axis=(0, 1))
        return np.broadcast_to(found, self._shape).astype(np.float32)


def image_constants(
    train: Split, data: DataSpec, image_shape: Sequence[int], seed: int, workers: int | None = None
) -> dict[str, NDArray[np.float32]]:
    """What ``ImageConstants`` finds. Raises NetspecError where no image can be read."""
    with closing(ImageConstants(train, data, image_shape, seed, workers)) as constants:
        return constants.found()
