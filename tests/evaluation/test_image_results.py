"""Ranks, losses, likeliest classes and the average over views, against plain definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netspec.evaluation.confusion import confusion_matrix, errors_by_class, most_confused
from netspec.evaluation.image_results import Judge, Views, likeliest

PROBS = np.array([[0.5, 0.5, 0.0], [0.1, 0.7, 0.2], [0.0, 0.4, 0.6]], np.float32)


def judged(probs, labels, **options):
    judge = Judge(np.array(labels, np.int32), **options)
    judge.add(np.arange(len(labels)), probs)
    return judge.results(str)


def test_ties_count_as_errors_and_an_impossible_label_has_a_finite_loss():
    results = judged(PROBS, [0, 1, 0], top=2)
    assert results.rank.tolist() == [1, 0, 2]
    assert results.wrong(1).tolist() == [True, False, True] and not results.wrong(5).any()
    assert results.loss[:2] == pytest.approx([-math.log(0.5), -math.log(0.7)])
    assert 100 < results.loss[2] < 104
    assert results.top.tolist() == [[0, 1], [1, 2], [2, 1]]
    assert np.array_equal(results.top_probabilities, np.array([[0.5, 0.5], [0.7, 0.2], [0.6, 0.4]], np.float32))
    assert results.names == ("0", "1", "2") and results.probabilities is None


def test_images_come_in_any_order_and_those_that_do_not_come_are_left_out():
    judge = Judge(np.array([0, 1, 2, 1], np.int32), keep=True)
    judge.add(np.array([3]), PROBS[1:2])
    judge.add(np.array([0, 2]), PROBS[[0, 2]])
    results = judge.results(lambda place: f"image {place}")
    assert results.index.tolist() == [0, 2, 3] and results.names == ("image 0", "image 2", "image 3")
    assert np.array_equal(results.probabilities, PROBS[[0, 2, 1]])
    assert results.top.shape == (3, 3)  # no more classes than there are


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_the_likeliest_are_those_of_a_stable_sort(rows, classes, seed):
    probs = np.random.default_rng(seed).integers(0, 4, (rows, classes)).astype(np.float32)
    found, values = likeliest(probs, min(5, classes))
    expected = np.argsort(-probs, axis=1, kind="stable")[:, :5]
    assert np.array_equal(found, expected)
    assert np.array_equal(values, np.take_along_axis(probs, expected, axis=1))


@given(st.integers(1, 4), st.lists(st.integers(0, 3), max_size=8), st.integers(1, 7))
def test_views_are_averaged_wherever_batches_end_and_incomplete_images_left_out(views, lacking, batch):
    """Image i lacks ``lacking[i]`` of its views."""
    present = [max(views - few, 0) for few in lacking]
    indices = np.repeat(np.arange(len(present)), present)
    probs = np.random.default_rng(views).random((len(indices), 3)).astype(np.float32)
    merged, found = Views(views), {}
    for start in range(0, len(indices), batch):
        some, means = merged.add(indices[start : start + batch], probs[start : start + batch])
        found |= dict(zip(some.tolist(), means, strict=True))
    assert sorted(found) == [i for i, count in enumerate(present) if count == views]
    for place, mean in found.items():
        total = np.zeros(3, np.float32)
        for row in probs[indices == place]:
            total += row
        assert np.array_equal(mean, total / views)


def test_confusions_are_counted_by_class():
    results = judged(PROBS[[0, 1, 2, 1]], [0, 0, 1, 1])
    matrix = confusion_matrix(results, 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]
    ant, bee = errors_by_class(results, matrix, ("ant", "bee", "cat"))
    assert (ant.name, ant.top1.wrong, ant.top1.images, ant.taken_for, ant.taken) == ("ant", 2, 2, "bee", 1)
    assert (bee.name, bee.top1.wrong, bee.top5.wrong, bee.taken_for) == ("bee", 1, 0, "cat")
    pairs = most_confused(matrix, ("ant", "bee", "cat"), 9)
    assert [(one.name, one.taken_for) for one in pairs] == [("ant", "bee"), ("bee", "cat")]
    assert [(one.count, one.images) for one in pairs] == [(1, 2), (1, 2)]
