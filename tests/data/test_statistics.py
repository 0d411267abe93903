"""Streaming statistics against numpy's over the whole array, in two passes of float64."""

from __future__ import annotations

import numpy as np
import pytest

from netspec.data.statistics import Moments, Statistics
from netspec.errors import NetspecError


def images(count: int, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Images whose channels are correlated, and whose mean differs from place to place."""
    random = np.random.default_rng(seed)
    light = random.normal(0, 40, (count, *shape[:2], 1)) * np.ones(shape[2])
    ramp = np.linspace(60, 190, shape[0] * shape[1] * shape[2]).reshape(shape)
    return np.clip(ramp + light + random.normal(0, 15, (count, *shape)), 0, 255).astype(np.uint8)


def of(batches: list[np.ndarray]) -> Statistics:
    moments = Moments(batches[0].shape[1:])
    for batch in batches:
        moments.add(batch)
    return moments.statistics()


@pytest.mark.parametrize("shape", [(9, 7, 3), (4, 4, 1), (1, 1, 3)])
def test_as_numpy_has_them(shape: tuple[int, int, int]) -> None:
    every = images(50, shape)
    found = of([every])
    pixels = every.reshape(-1, shape[2]).astype(np.float64)
    assert found.images == 50
    np.testing.assert_allclose(found.mean, every.mean(axis=0, dtype=np.float64), rtol=1e-15)
    np.testing.assert_allclose(found.channel_mean, pixels.mean(axis=0), rtol=1e-14)
    expected = np.atleast_2d(np.cov(pixels, rowvar=False, bias=True))
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(found.covariance @ found.eigenvectors, found.eigenvectors * found.eigenvalues, atol=1e-8)
    np.testing.assert_allclose(found.eigenvectors.T @ found.eigenvectors, np.eye(shape[2]), atol=1e-12)


def test_eigenvalues_descend_and_eigenvectors_have_one_sign() -> None:
    found = of([images(20, (8, 8, 3))])
    assert list(found.eigenvalues) == sorted(found.eigenvalues, reverse=True)
    assert (found.eigenvectors[np.abs(found.eigenvectors).argmax(axis=0), range(3)] > 0).all()


def test_batches_and_order_change_no_bit() -> None:
    every = images(31, (5, 6, 3))
    one, other = of([every]), of([every[20:], every[:3], every[3:3], every[3:20]])
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_views_that_are_not_contiguous_count_alike() -> None:
    every = images(6, (10, 10, 3))
    one, other = of([every[:, ::2, ::-1]]), of([every[:, ::2, ::-1].copy()])
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_small_variance_beside_a_large_mean_is_exact() -> None:
    """Where E[xx] - E[x]E[x] in floating point would cancel: one pixel of a million differs, by one grey level."""
    every = np.full((250, 64, 64, 3), 255, np.uint8)
    every[7, 3, 3, 1] = 254
    found, count = of([every]), 250 * 64 * 64
    assert found.covariance[1, 1] == (count - 1) / count**2
    assert found.covariance[0, 0] == 0 == found.covariance[0, 1]
    assert found.eigenvalues[0] == found.covariance[1, 1]
    assert list(found.eigenvectors[:, 0]) == [0, 1, 0]


def test_more_products_than_64_bits_hold() -> None:
    """Sums go on in unbounded integers, whatever the size of the set."""
    moments = Moments((2, 2, 3))
    moments.add(np.full((1, 2, 2, 3), 255, np.uint8))
    moments._products = [[value * 10**15 for value in row] for row in moments._products]
    moments._sum *= np.uint64(10**15)
    moments.images = 10**15
    moments.add(np.zeros((1, 2, 2, 3), np.uint8))
    found = moments.statistics()
    assert found.covariance[0, 0] == pytest.approx(255**2 * 1e-15, rel=1e-9)


def test_no_images_are_told() -> None:
    with pytest.raises(NetspecError, match="no images"):
        Moments((4, 4, 3)).statistics()


@pytest.mark.parametrize("wrong", [np.zeros((2, 4, 4, 3), np.float32), np.zeros((2, 3, 4, 3), np.uint8)])
def test_other_images_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="not of uint8"):
        Moments((4, 4, 3)).add(wrong)
