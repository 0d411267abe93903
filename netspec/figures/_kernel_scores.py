"""How coloured and how oriented the kernels of a first convolution are, and whether devices differ in that."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

PERMUTATIONS = 9_999
_SEED = 2012


def colour(kernels: Array) -> Array:
    """The share of each kernel's energy that is chroma: 0 for grey ones, 1 for those of no luminance; nan for zeros.

    ``kernels`` is (F, KH, KW, 3), in RGB. A pixel's three weights are a part along grey, (1, 1, 1) / sqrt(3), and a
    part orthogonal to it, the chroma. Of kernels of independent numbers the expected share is 2/3.
    """
    energy = np.square(kernels).sum(axis=(1, 2, 3))
    grey = np.square(kernels.sum(axis=3)).sum(axis=(1, 2)) / 3
    return 1.0 - _ratio(grey, energy)


def orientation(kernels: Array) -> Array:
    """The coherence of each kernel's structure tensor, in [0, 1]; nan for kernels without any gradient.

    (l1 - l2) / (l1 + l2) of the eigenvalues of the sum over pixels and channels of g g^T, g being the gradient (Bigun
    and Granlund 1987; Di Zenzo 1986 for channels): 1 for a grating or an edge, 0 for a round blob. ``kernels`` is
    (F, KH, KW, C), at least 2 x 2. Gradients are taken at the corners between four pixels, within the kernel.
    """
    a, b, c, d = kernels[:, :-1, :-1], kernels[:, :-1, 1:], kernels[:, 1:, :-1], kernels[:, 1:, 1:]
    across, down = (b + d - a - c) / 2, (c + d - a - b) / 2
    xx, yy, xy = ((one * other).sum(axis=(1, 2, 3)) for one, other in ((across, across), (down, down), (across, down)))
    return _ratio(np.hypot(xx - yy, 2 * xy), xx + yy)


@functools.cache
def untrained(shape: tuple[int, int, int]) -> Mapping[str, float]:
    """Mean scores by name of kernels of independent normal numbers, of (KH, KW, C)."""
    drawn = np.random.default_rng(_SEED).standard_normal((2000, *shape))
    shades = {"colour": float(colour(drawn).mean())} if shape[2] == 3 else {}
    return {**shades, "orientation": float(orientation(drawn).mean())}


def permutation_test(groups: Sequence[Array]) -> tuple[float, float]:
    """How far the means of groups lie apart (largest minus smallest), and the share p of deals that do as much.

    Values are dealt anew to groups of the same sizes, PERMUTATIONS times, from a fixed seed; the deal that is there
    counts as one more (Phipson and Smyth 2010), so p is at least 1 / 10,000.
    """
    groups = [one[np.isfinite(one)] for one in groups]
    if len(groups) < 2 or not all(map(len, groups)):
        return 0.0, 1.0
    pooled, ends = np.concatenate(groups), np.cumsum([len(one) for one in groups])
    deals = np.random.default_rng(_SEED).permuted(np.tile(pooled, (PERMUTATIONS + 1, 1)), axis=1)
    deals[0] = pooled
    means = np.stack([part.mean(axis=1) for part in np.split(deals, ends[:-1], axis=1)])
    spread = means.max(axis=0) - means.min(axis=0)
    return float(spread[0]), float((spread >= spread[0] - 1e-12).mean())


def _ratio(part: Array, whole: Array) -> Array:
    shares: Array = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return shares
