"""Results by image: rank and loss of the label and the likeliest classes, gathered batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALLEST = np.finfo(np.float32).smallest_subnormal
"""What a probability that is too small for float32 counts as, so that its loss is finite."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageResults:
    """One entry an image that could be read, in the order of the set.

    - ``index`` int64 (N,), the image's place in the set, and ``names``, its path for people.
    - ``label`` int32 (N,), and ``rank`` int32 (N,): how many other classes are no less probable than the label. It is a
      top-k error where that is k or more, so ties count as errors.
    - ``loss`` float32 (N,): -log of the label's probability.
    - ``top`` int32 (N, k), the likeliest classes, best first (of equal ones the first), and ``top_probabilities``
      float32 (N, k).
    - ``probabilities`` float32 (N, classes), where they were asked for.
    """

    index: NDArray[np.int64]
    names: tuple[str, ...]
    label: NDArray[np.int32]
    rank: NDArray[np.int32]
    loss: NDArray[np.float32]
    top: NDArray[np.int32]
    top_probabilities: NDArray[np.float32]
    probabilities: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """The number of images."""
        return len(self.index)

    def wrong(self, k: int) -> NDArray[np.bool_]:
        """Whether each image is a top-k error."""
        return self.rank >= k


class Judge:
    """Takes probabilities a batch at a time and keeps of each image what ``ImageResults`` holds.

    Memory: some 50 bytes an image, and 4 bytes an image and class where probabilities are kept.
    """

    def __init__(self, labels: NDArray[np.int32], top: int = 5, keep: bool = False) -> None:
        """``labels`` of the whole set; ``top``: how many classes are kept an image; ``keep``: all probabilities too."""
        self._labels, self._wanted, self._keep = labels, top, keep
        self._rank = np.full(len(labels), -1, np.int32)
        self._loss = np.zeros(len(labels), np.float32)
        self._top = np.zeros((len(labels), 0), np.int32)
        self._values = np.zeros((len(labels), 0), np.float32)
        self._kept: NDArray[np.float32] | None = None

    def add(self, indices: NDArray[np.int64], probs: NDArray[np.float32]) -> None:
        """Judge the images of these places in the set; ``probs`` is (N, classes)."""
        if not self._top.shape[1]:
            self._allocate(probs.shape[1])
        own = probs[np.arange(len(indices)), self._labels[indices]][:, None]
        self._rank[indices] = (probs >= own).sum(axis=1) - 1
        self._loss[indices] = -np.log(np.maximum(own[:, 0], SMALLEST))
        self._top[indices], self._values[indices] = likeliest(probs, self._top.shape[1])
        if self._kept is not None:
            self._kept[indices] = probs

    def _allocate(self, classes: int) -> None:
        images, top = len(self._labels), min(self._wanted, classes)
        self._top, self._values = np.zeros((images, top), np.int32), np.zeros((images, top), np.float32)
        if self._keep:
            self._kept = np.zeros((images, classes), np.float32)

    def results(self, name: Callable[[int], str]) -> ImageResults:
        """What has been judged; ``name`` gives an image's name by its place in the set."""
        read = np.flatnonzero(self._rank >= 0)
        return ImageResults(
            index=read,
            names=tuple(name(int(index)) for index in read),
            label=self._labels[read],
            rank=self._rank[read],
            loss=self._loss[read],
            top=self._top[read],
            top_probabilities=self._values[read],
            probabilities=None if self._kept is None else self._kept[read],
        )


def likeliest(probs: NDArray[np.float32], top: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The ``top`` classes of each row, best first, of equal ones the first, and their probabilities: (N, top) each.

    By repeated maximum, which for a few of many classes takes a tenth of the time of sorting.
    """
    rows, left = np.arange(len(probs)), probs.copy()
    classes = np.empty((len(probs), top), np.int32)
    for place in range(top):
        classes[:, place] = left.argmax(axis=1)
        left[rows, classes[:, place]] = -np.inf
    return classes, probs[rows[:, None], classes]


class Views:
    """Averages probabilities over the views of an image, whose rows follow each other, in their order.

    An image's rows may be cut over two batches. One of which a view could not be read is left out.
    """

    def __init__(self, views: int) -> None:
        self._views = views
        self._indices = np.zeros(0, np.int64)
        self._probs: NDArray[np.float32] | None = None

    def add(self, indices: NDArray[np.int64], probs: NDArray[np.float32]) -> tuple[NDArray[np.int64], Any]:
        """The images whose last row is among these, and their means (N, classes)."""
        if self._views == 1 or not len(indices):
            return indices, probs
        if self._probs is not None:
            indices, probs = np.concatenate([self._indices, indices]), np.concatenate([self._probs, probs])
        starts = np.flatnonzero(np.diff(indices, prepend=-1))
        counts = np.diff(starts, append=len(indices))
        rest = starts[-1] if counts[-1] < self._views else len(indices)
        self._indices, self._probs = indices[rest:], probs[rest:].copy()
        first = starts[counts == self._views]
        total = probs[first]
        for view in range(1, self._views):
            total += probs[first + view]
        return indices[first], total / self._views
