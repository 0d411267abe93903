"""Which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netspec.evaluation.error_rates import Rate
from netspec.evaluation.image_results import ImageResults


@dataclass(frozen=True, slots=True)
class ClassErrors:
    """The errors of a class's images, and the class that they are most often taken for, with how many of them."""

    name: str
    top1: Rate
    top5: Rate
    taken_for: str | None
    taken: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """So many images of a class were taken for another."""

    name: str
    taken_for: str
    count: int
    images: int


def confusion_matrix(results: ImageResults, classes: int) -> NDArray[np.int64]:
    """How many images of each class (rows) were taken for each class (columns): int64 (classes, classes)."""
    pairs = results.label.astype(np.int64) * classes + results.top[:, 0]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def errors_by_class(results: ImageResults, matrix: NDArray[np.int64], names: Sequence[str]) -> list[ClassErrors]:
    """The errors of each class that has images, in the order of the classes."""
    images = np.bincount(results.label, minlength=len(names))
    wrong = {k: np.bincount(results.label[results.wrong(k)], minlength=len(names)) for k in (1, 5)}
    others = matrix.copy()
    np.fill_diagonal(others, 0)
    found = []
    for number in np.flatnonzero(images).tolist():
        top1, top5 = (Rate(int(wrong[k][number]), int(images[number])) for k in (1, 5))
        other, taken = int(others[number].argmax()), int(others[number].max())
        found.append(ClassErrors(names[number], top1, top5, names[other] if taken else None, taken))
    return found


def most_confused(matrix: NDArray[np.int64], names: Sequence[str], most: int) -> list[Confusion]:
    """The pairs of classes that are taken for each other most often, the commonest first, of equal ones the first."""
    others = matrix.copy()
    np.fill_diagonal(others, 0)
    order = np.argsort(-others, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(names)) for place in order if others.flat[place]]
    return [Confusion(names[a], names[b], int(matrix[a, b]), int(matrix[a].sum())) for a, b in pairs]
