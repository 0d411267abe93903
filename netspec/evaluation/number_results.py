"""Results of networks that predict numbers: what was predicted for each image, and how far off it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from netspec.evaluation.error_rates import Z95

Numbers = NDArray[np.float32]


class Distance(NamedTuple):
    """How far predictions are off: root of the mean squared error and mean absolute error, in the target's units.

    ``of_mean`` is the rmse of predicting the mean of the set's own targets, ``r2`` the share of their variance that is
    explained, 1 - (rmse / of_mean)^2; None where all targets are one number.
    """

    rmse: float
    mae: float
    of_mean: float
    r2: float | None


@dataclass(frozen=True, slots=True, eq=False)
class NumberResults:
    """One entry an image that could be read, in the order of the set.

    ``index`` int64 (N,), the image's place in the set, and ``names``; ``target`` and ``prediction`` float32 (N, K).
    """

    index: NDArray[np.int64]
    names: tuple[str, ...]
    target: Numbers
    prediction: Numbers

    def __len__(self) -> int:
        """The number of images."""
        return len(self.index)

    @property
    def loss(self) -> NDArray[np.float64]:
        """Each image's mean squared error."""
        loss: NDArray[np.float64] = ((self.prediction - self.target.astype(np.float64)) ** 2).mean(axis=1)
        return loss

    @property
    def whole(self) -> Distance:
        """Over all numbers."""
        return _distance(self.prediction, self.target)

    @property
    def by_number(self) -> list[Distance]:
        """Of each of the K numbers."""
        pairs = zip(self.prediction.T, self.target.T, strict=True)
        return [_distance(prediction[:, None], target[:, None]) for prediction, target in pairs]

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of the rmse: the normal interval of the mean squared error over images, which holds for many of them."""
        loss = self.loss
        half = Z95 * float(loss.std(ddof=1)) / math.sqrt(len(loss)) if len(loss) > 1 else math.inf
        return math.sqrt(max(0.0, float(loss.mean()) - half)), math.sqrt(float(loss.mean()) + half)

    @property
    def errors(self) -> dict[str, float]:
        """As cost layers report them."""
        return {"rmse": self.whole.rmse, "mae": self.whole.mae}


def _distance(prediction: Numbers, target: Numbers) -> Distance:
    wanted = target.astype(np.float64)
    apart = prediction - wanted
    rmse, of_mean = (math.sqrt(float((some**2).mean())) for some in (apart, wanted - wanted.mean(axis=0)))
    return Distance(rmse, float(abs(apart).mean()), of_mean, 1 - (rmse / of_mean) ** 2 if of_mean else None)


class Comparer:
    """Takes predictions a batch at a time, 8 bytes an image and number."""

    def __init__(self, images: int, targets: Callable[[NDArray[np.int64]], Numbers]) -> None:
        """Of so many images; ``targets`` gives the set's own numbers for places in it."""
        self._targets = targets
        self._seen = np.zeros(images, np.bool_)
        self._prediction: Numbers | None = None

    def add(self, indices: NDArray[np.int64], rows: Numbers) -> None:
        """What was predicted, (n, K), for the images of these places in the set."""
        if self._prediction is None:
            self._prediction = np.zeros((len(self._seen), rows.shape[1]), np.float32)
        self._prediction[indices], self._seen[indices] = rows, True

    def results(self, name: Callable[[int], str]) -> NumberResults:
        """What has been compared; ``name`` gives an image's name by its place in the set."""
        read = np.flatnonzero(self._seen)
        target = self._targets(read)
        prediction = target[:0] if self._prediction is None else self._prediction[read]
        return NumberResults(read, tuple(name(int(index)) for index in read), target, prediction)


class NumberDifference(NamedTuple):
    """How much larger the first network's rmse is on the images that both could read, and whether that is noise.

    ``p``: of the paired normal test of the images' squared errors, two-sided.
    """

    first: str
    second: str
    difference: float
    p: float


def difference(names: tuple[str, str], one: NumberResults, other: NumberResults) -> NumberDifference:
    """Two networks, or one and an average, on the same images."""
    _, here, there = np.intersect1d(one.index, other.index, assume_unique=True, return_indices=True)
    first, second = one.loss[here], other.loss[there]
    apart = first - second
    error = float(apart.std(ddof=1)) / math.sqrt(len(apart)) if len(apart) > 1 else 0.0
    p = math.erfc(abs(float(apart.mean())) / error / math.sqrt(2)) if error else 1.0
    return NumberDifference(*names, math.sqrt(first.mean()) - math.sqrt(second.mean()), p)


def as_data(results: NumberResults) -> dict[str, Any]:
    """The figures, for JSON."""
    low, high = results.interval
    ends = {"low": low, "high": high if math.isfinite(high) else None}
    return {**results.whole._asdict(), **ends, "by_number": [one._asdict() for one in results.by_number]}
