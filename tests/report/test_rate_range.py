"""The range test's rule, its chart and its file, on curves whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from netspec.errors import NetspecError
from netspec.report.rate_range import RateRange, read_csv, summary


def curve(noise=0.02, fall=2.0, centre=-2.0, count=100, seed=0, lowest=-7.0, highest=1.0):
    """Losses that fall as a logistic function about 10 ** centre."""
    logs = np.linspace(lowest, highest, count)
    losses = 2.3 - fall / (1 + np.exp(-4 * (logs - centre))) + noise * np.random.default_rng(seed).normal(size=count)
    return RateRange(tuple(map(float, 10**logs)), tuple(map(float, losses)))


@pytest.mark.parametrize("centre", [-4.0, -2.0, -1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_suggestion_is_where_the_loss_falls_most_steeply(centre, seed):
    assert abs(math.log10(curve(centre=centre, seed=seed).suggestion) - centre) < 0.2


def test_it_has_two_digits():
    found = curve().suggestion
    assert found == float(f"{found:.2g}")


@pytest.mark.parametrize("seed", range(10))
def test_noise_alone_suggests_nothing(seed):
    assert curve(fall=0.0, noise=0.1, seed=seed).suggestion is None


def test_losses_behind_the_lowest_one_do_not_count():
    found = curve()
    risen = RateRange((*found.rates, 20.0, 40.0, 80.0, 160.0), (*found.losses, 50.0, 100.0, 200.0, 400.0))
    assert risen.suggestion == found.suggestion
    assert risen.diverges and not found.diverges


def test_a_range_of_less_than_a_decade_has_narrower_windows():
    found = curve(lowest=-2.3, highest=-1.7)
    assert 10**-2.3 < found.suggestion < 10**-1.7


@pytest.mark.parametrize("losses", [(), (2.3,), (2.3, 2.2, 2.1)])
def test_too_few_losses_suggest_nothing(losses):
    rates = tuple(10.0 ** (number - 5) for number in range(len(losses)))
    assert RateRange(rates, losses).suggestion is None and not RateRange(rates, losses).diverges


def test_the_running_mean_begins_at_the_first_loss():
    smoothed = RateRange((0.1, 0.2, 0.4), (3.0, 1.0, 1.0)).smoothed
    assert smoothed[0] == pytest.approx(3.0)
    assert smoothed[1] == pytest.approx((0.9 * 3 + 1) / 1.9)


def test_the_summary_has_the_ends_and_what_lies_between():
    found = curve()
    rows = summary(found, 5).rows
    assert len(rows) == 5 and len(summary(found).rows) == 16
    for row, place in ((rows[0], 0), (rows[-1], -1)):
        values = found.rates[place], found.losses[place], found.smoothed[place]
        assert [float(cell) for cell in row] == pytest.approx(values, rel=6e-3)


@pytest.mark.parametrize("count", [1, 3])
def test_few_losses_are_all_there(count):
    assert len(summary(RateRange(tuple(10.0**n for n in range(count)), (1.0,) * count)).rows) == count


def test_a_file_of_it_is_read_back(tmp_path):
    found = curve()
    (tmp_path / "rates.csv").write_text(found.as_csv())
    assert read_csv(tmp_path / "rates.csv") == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("", "no rates and losses"),
        ("a,b\n1,2\n", "not what 'netspec lr-find"),
        ("learning_rate,loss,smoothed_loss\n0.1,often,1\n", "not what 'netspec lr-find"),
        ("learning_rate,loss,smoothed_loss\n0.1\n", "not what 'netspec lr-find"),
        ("learning_rate,loss,smoothed_loss\n0,1,1\n", "no rates and losses"),
        ("learning_rate,loss,smoothed_loss\n0.1,nan,1\n", "no rates and losses"),
    ],
)
def test_another_file_is_refused(text, message, tmp_path):
    if text is not None:
        (tmp_path / "rates.csv").write_text(text)
    with pytest.raises(NetspecError, match=message):
        read_csv(tmp_path / "rates.csv")
