"""Costs of numbers against numpy in float64: the report, the prediction and the gradient of both inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from netspec.check.single import Array, SingleLayer
from netspec.check.subject import cpu
from netspec.contract.tensor import Tensor

COSTS: dict[str, tuple[dict[str, Any], Callable[[Array, Array], Array]]] = {
    "mse": ({}, lambda x, t: (x - t) ** 2),
    "l1": ({}, lambda x, t: np.abs(x - t)),
    "huber": ({"delta": 0.7}, lambda x, t: np.where(abs(x - t) < 0.7, (x - t) ** 2 / 2, 0.7 * (abs(x - t) - 0.35))),
    "hinge": ({}, lambda x, t: np.maximum(1 - t * x, 0)),
    "sigmoid_loss": ({}, lambda x, t: np.logaddexp(0, x) - x * t),
}


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize(("numbers", "valid"), [(1, 6), (5, 4), (70, 6)])
def test_costs(cost: str, numbers: int, valid: int) -> None:
    attrs, formula = COSTS[cost]
    chance = np.random.default_rng(numbers)
    x, target = chance.normal(0, 3, (6, numbers)), chance.random((6, numbers))
    shape = Tensor(x.shape)
    single = SingleLayer(cost, {**attrs, "weight": 0.5}, [shape, shape], cpu(), dtype="float64")
    forward = single.forward({"x": x, "target": target}, valid=valid)
    answer = 1 / (1 + np.exp(-x)) if cost == "sigmoid_loss" else x
    apart = (answer - target)[:valid]
    sums = [formula(x, target)[:valid].mean(1).sum(), (apart**2).mean(1).sum(), abs(apart).mean(1).sum(), valid]
    np.testing.assert_allclose(forward["report"], sums, rtol=1e-6)
    np.testing.assert_allclose(forward["prediction"], answer, rtol=1e-6)
    backward, step = single.backward({"x": x, "target": target, **forward}, valid=valid), 1e-6
    for name, moved in (("d_x", (step, 0)), ("d_target", (0, step))):
        up, down = (formula(x + sign * moved[0], target + sign * moved[1]) for sign in (1, -1))
        wanted = 0.5 * (up - down) / (2 * step) / (valid * numbers)
        wanted[valid:] = 0
        np.testing.assert_allclose(backward[name], wanted, rtol=1e-5, atol=1e-8)


def test_large_scores_lose_no_entropy() -> None:
    x, target = np.array([[1e4, -1e4, 90.0]], np.float32), np.array([[0.0, 1.0, 0.0]], np.float32)
    forward = SingleLayer("sigmoid_loss", {}, [Tensor((1, 3))] * 2, cpu()).forward({"x": x, "target": target})
    np.testing.assert_allclose(forward["report"][0], (1e4 + 1e4 + 90) / 3)
