"""Neighbours are exact: as by measuring every distance, whatever the blocks, with equal ones in order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netspec import nearest
from netspec.evaluation import neighbours


def by_hand(features, query, k, own=-1):
    points = np.asarray(features, np.float64).reshape(len(features), -1)
    lengths = np.array([np.linalg.norm(point - np.asarray(query, np.float64).ravel()) for point in points], np.float32)
    order = [place for place in sorted(range(len(points)), key=lambda place: (lengths[place], place)) if place != own]
    return order[:k], lengths[order[:k]]


@given(st.integers(2, 30), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_as_by_hand_with_many_equal_distances(count, width, seed):
    rng = np.random.default_rng(seed)
    features = rng.integers(0, 3, (count, width)).astype(np.float32)
    found = nearest(features, features, count - 1, own=range(count))
    for place in range(count):
        places, distances = by_hand(features, features[place], count - 1, place)
        assert found.places[place].tolist() == places
        assert np.array_equal(found.distances[place], distances)


def test_near_ones_far_from_the_origin_are_told_apart(monkeypatch):
    """Where a matrix product alone would lose all digits; and blocks of a few rows change nothing."""
    rng = np.random.default_rng(0)
    base = rng.normal(0, 1, 500).astype(np.float32) * 1e4
    features = base + rng.normal(0, 1e-2, (70, 500)).astype(np.float32)
    features[40] = features[3]
    whole = nearest(features, features[:5], 4)
    assert whole.places[3, :2].tolist() == [3, 40] and whole.distances[3, :2].tolist() == [0, 0]
    for query, places, distances in zip(features, *whole, strict=False):
        expected, lengths = by_hand(features, query, 4)
        assert places.tolist() == expected and np.allclose(distances, lengths, rtol=1e-6)
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 5000)
    small = nearest(features, features[:5], 4)
    assert np.array_equal(whole.places, small.places) and np.array_equal(whole.distances, small.distances)


def test_further_axes_count_as_one_and_one_may_be_left_out():
    features = np.zeros((4, 2, 2), np.float32)
    features[:, 0, 0] = [0, 3, 1, 7]
    found = nearest(features, features[[0, 3]], 2, own=[0, -1])
    assert found.places.tolist() == [[2, 1], [3, 1]] and found.distances.tolist() == [[1, 3], [0, 4]]


UNFIT = [((1, 3), 1, None), ((1, 2), 4, None), ((1, 2), 3, [0]), ((1, 2), 0, None), ((1, 2), 1, [0, 1])]


@pytest.mark.parametrize(("queries", "k", "own"), UNFIT)
def test_what_does_not_fit_is_refused(queries, k, own):
    with pytest.raises(ValueError):
        nearest(np.zeros((3, 2)), np.zeros(queries), k, own=own)
