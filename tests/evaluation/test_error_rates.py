"""Intervals and tests of significance against other formulas and published figures."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netspec.evaluation.error_rates import Z95, Rate
from netspec.evaluation.significance import holm, mcnemar


@pytest.mark.parametrize(
    ("wrong", "images", "interval"),
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_the_interval_is_the_one_published(wrong, images, interval):
    """Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3."""
    assert Rate(wrong, images).interval == pytest.approx(interval, abs=5e-5)


@given(st.integers(1, 60_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_ends_where_the_score_test_does(pair):
    """Wilson's interval holds the shares p whose test statistic (share - p) / sqrt(p (1 - p) / n) is within Z95."""
    rate = Rate(*pair)
    low, high = rate.interval
    assert 0 <= low <= rate.share <= high <= 1
    for end in (low, high):
        if 1e-9 < end < 1 - 1e-9:
            assert abs(rate.share - end) / math.sqrt(end * (1 - end) / rate.images) == pytest.approx(Z95, rel=1e-6)


def test_of_no_images_nothing_is_known():
    assert Rate(0, 0).interval == (0.0, 1.0) and math.isnan(Rate(0, 0).share)


def test_mcnemar_gives_the_published_value():
    """Fagerland, Lydersen and Laake 2013, table 4: 1 against 7 discordant pairs; exact 0.070, mid-p 0.039."""
    assert mcnemar(1, 7) == pytest.approx(0.0391, abs=5e-5)
    assert mcnemar(7, 1) == mcnemar(1, 7)


@given(st.integers(0, 120), st.integers(0, 120))
def test_mcnemar_is_the_exact_test_less_half_of_what_was_found(one, other):
    """In whole numbers, and the other way round: twice the upper tail of the binomial distribution."""
    trials, more = one + other, max(one, other)
    ways = [Fraction(math.comb(trials, k), 2**trials) for k in range(trials + 1)]
    two_sided = 2 * (sum(ways[more:]) - ways[more] / 2)
    expected = float(min(two_sided, 1)) if one != other else float(1 - ways[more] / 2) if trials else 1.0
    assert mcnemar(one, other) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_mcnemar_of_many_images_nears_the_normal_distribution():
    assert mcnemar(4800, 5200) == pytest.approx(math.erfc(400 / math.sqrt(10_000) / math.sqrt(2)), rel=1e-2)
    assert mcnemar(0, 50_000) == 0.0


def test_holm_takes_the_smallest_as_often_as_there_are_tests():
    """The example of Holm 1979's method as R's p.adjust gives it."""
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.5, 0.01]) == pytest.approx([0.5, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
