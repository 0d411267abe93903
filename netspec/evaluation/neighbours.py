"""Exact nearest neighbours in the space of features (paper, section 6.1 and figure 4, right)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

BLOCK_BYTES = 64 * 2**20
"""How much of the distances, and of features in float64, is held at a time."""

_FLOAT32 = 2.0**-21
"""Squares that differ by no more than this share of them may be equal distances in float32."""


class Neighbours(NamedTuple):
    """``places`` int64 in the features and ``distances`` float32, both (queries, k), nearest first."""

    places: NDArray[np.int64]
    distances: NDArray[np.float32]


def nearest(features: ArrayLike, queries: ArrayLike, k: int, *, own: ArrayLike | None = None) -> Neighbours:
    """The ``k`` features nearest to each query by Euclidean distance, found by looking at all of them.

    ``features`` is (N, ...), ``queries`` (Q, ...) of the same shape but for the first axis; further axes count as one.
    ``own`` (Q,) are places in ``features`` that are left out, one a query: an image is its own nearest neighbour; -1
    leaves none out.

    The distance is the root of the sum of squared differences, summed in float64 and rounded to float32; of equal ones
    the feature that comes first counts as nearer. Neither the number of queries nor the size of blocks changes a
    result: matrix products only choose candidates, with a bound on their rounding, and these are measured directly.
    Raises ValueError for shapes that do not fit and for fewer than ``k`` features.
    """
    points, wanted = _rows(features), _rows(queries)
    left_out = np.full(len(wanted), -1) if own is None else np.asarray(own, np.int64)
    if points.shape[1] != wanted.shape[1] or left_out.shape != (len(wanted),):
        raise ValueError(f"features {points.shape}, queries {wanted.shape} and own {left_out.shape} do not fit")
    if not 1 <= k <= len(points) - (own is not None):
        raise ValueError(f"k must be between 1 and {len(points) - (own is not None)}, got {k}")
    norms = np.concatenate([np.square(block).sum(axis=1) for block in _blocks(points)])
    places, distances = np.empty((len(wanted), k), np.int64), np.empty((len(wanted), k), np.float32)
    step = max(1, BLOCK_BYTES // (8 * max(points.shape)))
    for start in range(0, len(wanted), step):
        squares, bounds = _approximate(points, norms, wanted[start : start + step].astype(np.float64))
        for row, line in enumerate(squares, start):
            if left_out[row] >= 0:
                line[left_out[row]] = np.inf
            farthest = (max(np.partition(line, k - 1)[k - 1], 0.0) + 2 * bounds[row - start]) * (1 + _FLOAT32)
            candidates = np.flatnonzero(line <= farthest)
            exact = _measured(points[candidates], wanted[row])
            order = np.argsort(exact, kind="stable")[:k]
            places[row], distances[row] = candidates[order], exact[order]
    return Neighbours(places, distances)


def _rows(values: ArrayLike) -> NDArray[np.float32]:
    array = np.asarray(values, np.float32)
    return array.reshape(len(array), -1)


def _blocks(points: NDArray[np.float32]) -> Iterator[NDArray[np.float64]]:
    """The rows in float64, so many at a time."""
    step = max(1, BLOCK_BYTES // (8 * max(points.shape[1], 1)))
    for start in range(0, len(points), step):
        yield points[start : start + step].astype(np.float64)


def _approximate(
    points: NDArray[np.float32], norms: NDArray[np.float64], queries: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Squared distances (queries, points) by a matrix product, and for each query how far off they may be.

    An inner product of n terms is off by at most n roundings of the product of both lengths, however it is summed.
    """
    own = np.square(queries).sum(axis=1)
    products = np.concatenate([queries @ block.T for block in _blocks(points)], axis=1)
    bounds = 4 * points.shape[1] * np.finfo(np.float64).eps * (own + norms.max())
    return own[:, None] + norms - 2 * products, bounds


def _measured(points: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """The distance of each point."""
    squares = [np.square(block - query).sum(axis=1) for block in _blocks(points)]
    return np.asarray(np.sqrt(np.concatenate(squares)), np.float32)
