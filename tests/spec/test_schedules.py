"""Schedules and initialisers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from netspec.check import initialisers, schedules
from netspec.check.suite import checked, outcome
from netspec.init import Fan, Initialiser, initial, initialiser_types
from netspec.schedules import Factors, Progress, Schedule, make_schedule, schedule_types
from netspec.spec.patterns import last_match


def rates(schedule: dict[str, Any], iterations: int, total: int) -> list[float]:
    """The multipliers of a run of ten iterations an epoch."""
    made = make_schedule(schedule)
    return [made.rate(Progress(i, i // 10, 10, total)) for i in range(iterations)]


def test_all_are_found() -> None:
    assert set(schedule_types()) == {"constant", "step", "exp", "dexp", "plateau", "hand", "cosine", "one_cycle"}
    assert set(initialiser_types()) == {"gaussian", "uniform", "constant", "xavier", "he", "dirac", "dct"}
    assert [name for name, cls in schedule_types().items() if cls.needs_validation] == ["plateau"]


OTHERS = [f"schedules.{name}" for name in schedule_types()] + [f"initialisers.{name}" for name in initialiser_types()]


@pytest.mark.parametrize("key", OTHERS)
def test_contract(key: str) -> None:
    failed = [(result.name, result.message) for result in checked(key) if result.status != "passed"]
    assert not failed


class Counting(Schedule):
    """rate = how often it was asked"""

    calls = 0

    def rate(self, progress: Progress) -> float:
        """One more each time; on the last iteration nothing that is a number."""
        self.calls += 1
        return math.nan if progress.iteration == 28 else self.calls

    def factors(self, progress: Progress) -> Factors:
        """Of a layer that is not declared."""
        return (("conv1", 1.0),)


class Clock(Initialiser):
    """w = how often it was asked, in float64"""

    calls = 0

    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan: Fan) -> Any:
        """One more each time."""
        self.calls += 1
        return np.full(shape, float(self.calls))


def test_the_suites_tell_what_is_wrong() -> None:
    subjects: list[tuple[Any, Any]] = [
        (schedules, schedules.ScheduleSubject("counting", Counting)),
        (initialisers, initialisers.InitialiserSubject("clock", Clock)),
    ]
    found = {
        result.name: result.message
        for suite, subject in subjects
        for result in (outcome(check, subject) for check in suite.CHECKS)
        if result.status == "failed"
    }
    assert found.keys() == {"rates", "pure", "patterns", "values", "seed"}
    assert "rate() gives nan at Progress(iteration=28" in found["rates"] and "float64 (1, 1)" in found["values"]
    assert "keep nothing between them" in found["pure"] and "draw from 'random' alone" in found["seed"]


def test_constant_and_step() -> None:
    assert rates({"type": "constant"}, 20, 20) == [1.0] * 20
    assert rates({"type": "step", "at": [1, 3]}, 40, 40)[::10] == pytest.approx([1, 0.1, 0.1, 0.01])


def test_dexp_is_that_of_cuda_convnet2() -> None:
    """dexp[base=0.01;tgtFactor=250;numSteps=4], the rates of its documentation."""
    found = rates({"type": "dexp", "factor": 250.0, "steps": 4}, 90, 90)
    assert [0.01 * found[i] for i in (0, 22, 23, 45, 68, 89)] == pytest.approx(
        [0.01, 0.01, 0.00158740, 0.000251984, 0.00004, 0.00004], rel=1e-5
    )
    assert rates({"type": "dexp", "factor": 10.0, "steps": 1}, 2, 2) == [0.1, 0.1]


def test_exp_ends_at_its_factor() -> None:
    made = make_schedule({"type": "exp", "factor": 100.0})
    assert [made.rate(Progress(i, 0, 1, 10)) for i in (0, 5, 10, 20)] == pytest.approx([1, 0.1, 0.01, 0.01])


def test_cosine_rises_in_the_warm_up_and_falls_to_its_last_factor() -> None:
    """After the warm-up PyTorch's CosineAnnealingLR in its closed form."""
    found = rates({"type": "cosine", "warmup": 0.5, "start": 0.2, "final": 0.1}, 45, 45)
    assert found[:6] == pytest.approx([0.2, 0.36, 0.52, 0.68, 0.84, 1.0])
    falling = [0.1 + 0.9 * (1 + math.cos(math.pi * i / 40)) / 2 for i in range(40)]
    assert found[5:] == pytest.approx(falling) and found[25] == pytest.approx(0.55)
    plain = rates({"type": "cosine"}, 12, 10)
    assert plain[0] == 1.0 and plain[5] == pytest.approx(0.5) and plain[10:] == pytest.approx([0.0, 0.0])
    assert rates({"type": "cosine", "warmup": 9.0}, 20, 20)[-1] < 0.3


def test_one_cycle_has_the_rates_of_pytorch() -> None:
    """OneCycleLR(max_lr=1, total_steps=20, pct_start=0.25, div_factor=10, final_div_factor=100): its two phases."""
    found = rates({"type": "one_cycle", "rise": 0.25, "first": 10.0, "last": 100.0}, 20, 20)
    rising = [1 + (0.1 - 1) / 2 * (math.cos(math.pi * i / 4) + 1) for i in range(5)]
    falling = [0.001 + (1 - 0.001) / 2 * (math.cos(math.pi * (i - 4) / 15) + 1) for i in range(5, 20)]
    assert found == pytest.approx([*rising, *falling])
    assert (found[0], found[4], found[-1]) == pytest.approx((0.1, 1.0, 0.001))
    for total in (1, 2, 3):
        assert all(0 < rate <= 1 for rate in rates({"type": "one_cycle"}, total + 1, total))


def test_plateau_divides_three_times_at_most() -> None:
    made = make_schedule({"type": "plateau", "patience": 2})

    def rate(*errors: float) -> float:
        return made.rate(Progress(0, len(errors), 1, 1, errors))

    assert rate() == rate(0.9) == rate(0.9, 0.8, 0.8) == rate(0.9, 0.8, 0.8, 0.7) == 1.0
    assert rate(0.9, 0.9, 0.9) == pytest.approx(0.1)
    assert rate(0.9, math.nan, math.nan) == pytest.approx(0.1)
    assert rate(0.9, 0.9, 0.9, 0.8, 0.8, 0.8) == pytest.approx(0.01)
    assert rate(*[0.9] * 30) == pytest.approx(0.001)


HAND = {
    "type": "hand",
    "steps": [
        {"epoch": 1, "rate": 0.1},
        {"epoch": 2, "layers": {"conv*": 0.5, "conv1": 2.0}},
        {"epoch": 4, "rate": 0.01, "layers": {"conv2": 1.0}, "freeze": ["conv1.weight"]},
    ],
}


def test_hand_changes_what_each_step_names_and_leaves_the_rest() -> None:
    assert rates(HAND, 50, 50)[::10] == pytest.approx([1, 0.1, 0.1, 0.1, 0.01])
    made = make_schedule(HAND)
    first = (("conv*", 0.5), ("conv1", 2.0))
    assert [made.factors(Progress(0, epoch, 1, 1)) for epoch in (0, 1, 2, 3)] == [(), (), first, first]
    assert made.factors(Progress(0, 4, 1, 1)) == (*first, ("conv2", 1.0), ("conv1.weight", 0.0))
    assert [pattern for _, pattern in made.patterns()] == ["conv*", "conv1", "conv2", "conv1.weight"]


def test_patterns_name_layers_or_parameters_and_the_last_one_counts() -> None:
    factors = make_schedule(HAND).factors(Progress(0, 4, 1, 1))
    names = [("conv1", "weight"), ("conv1", "bias"), ("conv2", "weight"), ("conv3", "bias"), ("fc1", "weight")]
    assert [last_match(factors, *name) for name in names] == [0.0, 2.0, 1.0, 0.5, None]


def draw(seed: int = 1, name: str = "conv1.weight", **init: Any) -> np.ndarray:
    """200,000 values of an initialiser."""
    return initial(init, (50, 4000), 600, 200, (seed, name))


@pytest.mark.parametrize(
    ("init", "mean", "std"),
    [
        ({"type": "gaussian", "std": 0.02, "mean": 1.0}, 1.0, 0.02),
        ({"type": "uniform", "low": -1.0, "high": 3.0}, 1.0, 4 / math.sqrt(12)),
        ({"type": "xavier"}, 0.0, math.sqrt(2 / 800)),
        ({"type": "he"}, 0.0, math.sqrt(2 / 600)),
        ({"type": "constant", "value": 0.5}, 0.5, 0.0),
    ],
)
def test_initialisers_have_their_moments(init: dict[str, Any], mean: float, std: float) -> None:
    values = draw(**init)
    assert values.dtype == np.float32 and values.shape == (50, 4000) and values.flags.c_contiguous
    assert values.mean(dtype=np.float64) == pytest.approx(mean, abs=0.01 * std + 1e-9)
    assert values.std(dtype=np.float64) == pytest.approx(std, rel=0.01, abs=1e-9)


def test_initial_values_depend_on_seed_and_name_alone() -> None:
    first = draw(type="gaussian")
    assert np.array_equal(first, draw(type="gaussian"))
    assert not np.array_equal(first, draw(seed=2, type="gaussian"))
    assert not np.array_equal(first, draw(name="conv2.weight", type="gaussian"))
