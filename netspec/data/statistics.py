"""Streaming statistics of images: the mean image, and the covariance of RGB with its eigenvectors, in one pass.

What the paper subtracts (section 2) and what its colour noise is made of (section 4.1). All sums are exact integers, so
neither the order of the images nor how they are cut into batches changes a bit of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from netspec.errors import NetspecError

Floats = NDArray[np.float64]


class Statistics(NamedTuple):
    """Of so many images, in grey levels from 0 to 255; all arrays float64.

    ``mean`` (H, W, C) is the mean image, ``channel_mean`` (C,) its average over the places. ``covariance`` (C, C) is
    the population's, over the pixels of all images: E[(x - m)(x - m)^T] with m = ``channel_mean``. ``eigenvalues`` (C,)
    descend, ``eigenvectors`` (C, C) holds that of the i-th in column i, of length 1, its component of largest magnitude
    positive.
    """

    images: int
    mean: Floats
    channel_mean: Floats
    covariance: Floats
    eigenvalues: Floats
    eigenvectors: Floats


class Moments:
    """Sums over images of one shape, (H, W, C), from which their statistics follow."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self.images = 0
        self._sum = np.zeros(self.shape, np.uint64)
        channels = self.shape[-1]
        self._products = [[0] * channels for _ in range(channels)]  # of unbounded integers

    def add(self, images: NDArray[np.uint8]) -> None:
        """Count images, uint8 (N, H, W, C)."""
        if images.dtype != np.uint8 or images.shape[1:] != self.shape:
            raise ValueError(f"images of {images.dtype} {images.shape}, not of uint8 (N, *{self.shape})")
        for image in images:
            self._sum += image
            pixels = image.reshape(-1, self.shape[-1]).astype(np.float64)
            products = pixels.T @ pixels  # whole numbers below 2^53: exact in any order of summation
            for row, found in zip(self._products, products.tolist(), strict=True):
                row[:] = [total + int(value) for total, value in zip(row, found, strict=True)]
        self.images += len(images)

    def statistics(self) -> Statistics:
        """What the sums say; raises NetspecError where no image was counted."""
        if not self.images:
            raise NetspecError("no images to take statistics of")
        sums = [int(total) for total in self._sum.sum(axis=(0, 1))]
        count = self.images * self.shape[0] * self.shape[1]
        covariance = np.array(
            [
                [(count * product - sums[i] * sums[j]) / count**2 for j, product in enumerate(row)]
                for i, row in enumerate(self._products)
            ]
        )
        channel_mean = np.array([total / count for total in sums])
        return Statistics(self.images, self._sum / self.images, channel_mean, covariance, *principal(covariance))


def principal(covariance: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues (C,) in descending order and eigenvectors (C, C) in columns, as ``Statistics`` has them."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
    return np.maximum(values, 0.0), vectors * np.sign(largest)
