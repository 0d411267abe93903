"""Sums over ranks: the bits of the tree, whatever the buckets, the ranks' order of arrival, and their number."""

from __future__ import annotations

import numpy as np
import pytest
from rank_threads import in_threads

from netspec.runners.transport.exchange import summing, tree_sum


def summed(size, each, bucket, seed=None, memory=None, shares=None):
    """Each rank's arrays after the first sum and the second, and its calls."""

    def work(transport):
        arrays = [array.copy() for array in each[transport.rank]]
        share = (lambda: shares[transport.rank]) if shares else None
        call = summing(transport, arrays, bucket, share)
        for _ in range(2):  # the second time with what the first has left
            before = [array.copy() for array in arrays]
            call()
        return before, arrays, transport.calls

    return in_threads(size, work, seed, memory)


def tree(values):
    while len(values) > 1:
        values = [left + right for left, right in zip(values[::2], values[1::2], strict=True)]
    return values[0]


def _drawn(rng, shape):
    return (rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 6)).astype(np.float32)


SHAPES = [(7,), (31, 17), (1,), (3, 3, 5, 8), (4096,), (2,)]


@pytest.mark.parametrize("memory", [None, 192, 1 << 20])
@pytest.mark.parametrize("bucket", [64, 4096, 1 << 24])
@pytest.mark.parametrize("size", [2, 4, 8])
def test_it_is_the_tree_for_any_bucket(size, bucket, memory):
    """By messages, and by memory that all see, of which there may be less than a bucket takes."""
    rng = np.random.default_rng(size)
    each = [[_drawn(rng, shape) for shape in SHAPES] for _ in range(size)]
    found = summed(size, each, bucket, bucket, memory)
    for place in range(len(SHAPES)):
        wanted = tree([arrays[place] for arrays in each])
        for once, twice, _ in found:
            np.testing.assert_array_equal(once[place], wanted)
            np.testing.assert_array_equal(twice[place], tree([wanted] * size))
    calls = found[0][2]
    assert all(one == calls for *_, one in found)
    assert all(sum(counts) * 4 <= max(bucket, 4) for _, counts in calls)
    assert {name for name, _ in calls} == ({"alltoall", "allgather"} if memory is None else {"meet"})


@pytest.mark.parametrize("memory", [None, 1 << 20])
@pytest.mark.parametrize("size", [2, 4])
def test_values_count_by_shares_which_are_rounded_one_by_one(size, memory):
    """As one process would, whose ``accumulate`` scales each replica's values before it adds them."""
    rng = np.random.default_rng(size)
    each = [[_drawn(rng, (40_000,)), _drawn(rng, (3,))] for _ in range(size)]
    shares = [float(np.float32(1 / (rank + 3))) for rank in range(size)]
    for once, _, _ in summed(size, each, 1 << 17, memory=memory, shares=shares):
        for place in range(2):
            scaled = [arrays[place] * np.float32(share) for arrays, share in zip(each, shares, strict=True)]
            np.testing.assert_array_equal(once[place], tree(scaled))


def test_a_number_that_is_not_finite_reaches_all_ranks():
    each = [[np.ones(9, np.float32)] for _ in range(4)]
    each[2][0][5], each[3][0][5] = np.inf, -np.inf  # whose sum is none, without a word: pytest has warnings as errors
    for once, _, _ in summed(4, each, 16):
        assert np.isnan(once[0][5]) and (np.delete(once[0], 5) == 4).all()


def test_halves_of_the_tree_are_trees():
    """What makes the number of processes without effect: two ranks that hold sums of two go on where four would be."""
    rows = np.random.default_rng(0).standard_normal((8, 100)).astype(np.float32)
    halves = np.stack([tree_sum(rows[:4].copy()), tree_sum(rows[4:].copy())])
    np.testing.assert_array_equal(tree_sum(halves), tree_sum(rows.copy()))
    assert not np.array_equal(rows.sum(axis=0), tree_sum(rows.copy()))
