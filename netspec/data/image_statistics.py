"""Statistics of all images of a split, at the size that they are stored in, in one pass over the data pipeline."""

from __future__ import annotations

from collections.abc import Callable

from netspec.data.pipeline import Pipeline
from netspec.data.settings import DataSpec
from netspec.data.source import Split
from netspec.data.statistics import Moments, Statistics

_BATCH = 64


def image_statistics(
    split: Split, size: int, workers: int | None = None, tell: Callable[[int], None] = lambda images: None
) -> tuple[Statistics, list[tuple[str, str]]]:
    """Of the central squares, short sides resized to ``size`` pixels; and (name, reason) of images that are broken.

    ``tell`` is told how many more images are done. The memory that it takes does not depend on how many there are.
    Raises NetspecError where too many are broken.
    """
    data = DataSpec(resize=size, crop=size)
    moments = Moments((size, size, 3))
    with Pipeline(split, data, "val", min(_BATCH, len(split)), moments.shape, 0, workers) as pipeline:
        for batch in pipeline.epoch(0):
            moments.add(batch.image[: batch.valid])
            tell(batch.valid)
            batch.release()
        broken = pipeline.broken
    return moments.statistics(), broken
