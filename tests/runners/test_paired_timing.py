"""Kernels that are timed in turn: load on one side, drift and noise decide nothing, a real difference does."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from netspec.runners.paired_timing import CHANCE, MARGIN, NEEDED, PAIRS, PairedTimes, time_in_pairs


class Machine:
    """A clock that a call of ``fast`` and one of ``slow`` move by their time and by what other load adds."""

    def __init__(self, fast: float, slow: float, load: Callable[[str], float] = lambda name: 0.0) -> None:
        self.now, self.took, self.load = 0.0, {"fast": fast, "slow": slow}, load
        self.calls = {"fast": 0, "slow": 0}

    def call(self, name: str) -> Callable[[], None]:
        def work() -> None:
            self.calls[name] += 1
            self.now += self.took[name] + self.load(name)

        return work

    def synchronise(self) -> None:
        """Nothing is under way."""

    def time_in_pairs(self, monkeypatch: pytest.MonkeyPatch) -> PairedTimes:
        """Of ``fast`` against ``slow``."""
        monkeypatch.setattr("netspec.runners.paired_timing.time.perf_counter", lambda: self.now)
        return time_in_pairs(self, self.call("fast"), self.call("slow"))


def test_a_faster_call_wins_every_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Machine(0.9e-3, 1e-3).time_in_pairs(monkeypatch)
    assert found.holds and found.wins == PAIRS
    assert (found.seconds, found.other) == pytest.approx((0.9e-3, 1e-3))


@pytest.mark.parametrize("gain", [-0.2, 0.0, MARGIN / 2])
def test_less_than_the_margin_does_not_count_and_ends_early(monkeypatch: pytest.MonkeyPatch, gain: float) -> None:
    machine = Machine((1 - gain) * 0.05, 0.05)
    found = machine.time_in_pairs(monkeypatch)
    assert not found.holds and found.wins == 0
    assert machine.calls["slow"] == 1 + 2 * (PAIRS - NEEDED + 1)


@pytest.mark.parametrize(("seconds", "calls"), [(1e-3, 20), (0.05, 2)])
def test_load_that_meets_one_side_feigns_nothing(monkeypatch: pytest.MonkeyPatch, seconds: float, calls: int) -> None:
    """Other work doubles the time of every call of the default, in two of three pairs."""

    def load(name: str) -> float:
        busy = name == "slow" and machine.calls["slow"] // calls % 3 < 2
        return seconds if busy else 0.0

    machine = Machine(seconds, seconds, load)
    assert not machine.time_in_pairs(monkeypatch).holds


def test_load_on_the_faster_side_hides_it_at_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bursts that meet a single call of a pair are left out by the least; ones that last cost the win, not the bits."""
    machine = Machine(0.8e-3, 1e-3, lambda name: 5e-3 if name == "fast" and machine.calls["fast"] % 7 == 0 else 0.0)
    assert machine.time_in_pairs(monkeypatch).holds
    machine = Machine(0.8e-3, 1e-3, lambda name: 5e-3 if name == "fast" else 0.0)
    assert not machine.time_in_pairs(monkeypatch).holds


def test_equal_calls_under_random_load_win_as_seldom_as_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(1)
    won = sum(
        Machine(0.05, 0.05, lambda name: draw.expovariate(20)).time_in_pairs(monkeypatch).holds for _ in range(2000)
    )
    assert CHANCE == pytest.approx(0.0037, abs=5e-5)
    assert won <= 2000 * CHANCE


def test_a_real_gain_is_found_under_random_load(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(1)
    found = [Machine(0.8e-3, 1e-3, lambda name: draw.expovariate(2000)).time_in_pairs(monkeypatch) for _ in range(50)]
    assert sum(one.holds for one in found) >= 48
