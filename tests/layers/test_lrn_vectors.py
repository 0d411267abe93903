"""Response normalisation as LLVM vectors: against the formula in float64, over tiles and blocks, teams, the choice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netspec.check.compare import error
from netspec.check.shuffled import ShuffledCpu
from netspec.check.single import SingleLayer
from netspec.check.subject import cpu
from netspec.contract.tensor import Shape, Tensor
from netspec.device.base import Device
from netspec.layers._cpu import lrn_rows
from netspec.program.choice import candidates

ATTRS = {"alpha": 0.1, "k": 1.5}


def single(shape: Shape, groups: int = 1, dtype: str = "float32", device: Device | None = None) -> SingleLayer:
    return SingleLayer(
        "lrn", {**ATTRS, "groups": groups}, [Tensor(shape)], device or cpu(), variant="vectors", dtype=dtype
    )


def trip(one: SingleLayer) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    values = {name: rng.standard_normal(one.t.x.shape).astype(np.float32) for name in ("x", "d_y")}
    return {**values, **one.forward(values), **one.backward(values)}


def window_sums(values: Any) -> Any:
    """Over channels c - 2 to c + 2 of the last axis."""
    padded, width = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(2, 2)]), values.shape[-1]
    return sum(padded[..., n : n + width] for n in range(5))


@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        ((3, 16), 1),
        ((9, 30, 30, 48), 1),
        ((2, 5, 7, 96), 3),
        ((2, 3, 3, 2 * lrn_rows.TILE), 1),
        ((130, 1040), 1),
        ((9, 30, 30, 50), 1),
        ((3, 7, 5, 17), 1),
        ((2, 5, 7, 93), 3),
        ((2, 2, 2 * lrn_rows.TILE + 5), 1),
    ],
)
def test_is_the_formula(shape: Shape, groups: int) -> None:
    for dtype, bound in (("float64", 1e-13), ("float32", 2e-6)):
        got = trip(single(shape, groups, dtype))
        apart = (*shape[:-1], groups, shape[-1] // groups)
        x, dy = (got[name].reshape(apart).astype(np.float64) for name in ("x", "d_y"))
        scale = 1.5 + 0.1 * window_sums(x * x)
        y = x * scale**-0.75
        d_x = dy * scale**-0.75 - 2 * 0.1 * 0.75 * x * window_sums(dy * y / scale)
        assert error(got["y"], y.reshape(shape)) <= bound and error(got["d_x"], d_x.reshape(shape)) <= bound


def test_any_team_gives_the_same_bits() -> None:
    wanted = trip(single((9, 30, 30, 48)))
    for team in (1, 2, 3):
        got = trip(single((9, 30, 30, 48), device=ShuffledCpu(team, team)))
        assert all(got[name].tobytes() == wanted[name].tobytes() for name in wanted)


def test_squares_that_overflow_leave_zeros_and_what_is_not_finite_stays_so() -> None:
    one, x = single((1, 48)), np.ones((1, 48), np.float32)
    x[0, 7], x[0, 20], x[0, 40] = 1e28, np.inf, np.nan
    y = one.forward({"x": x})["y"][0]
    assert (y[[*range(5, 10), 18, 19, 21, 22]] == 0).all() and np.isnan(y[[20, *range(38, 43)]]).all()
    assert np.isfinite(np.delete(y, [20, *range(38, 43)])).all()
    d_x = one.backward({"x": x, "d_y": np.ones_like(x)})["d_x"][0]
    assert np.isnan(d_x[36:45]).all() and np.isnan(d_x[20]) and np.isfinite(d_x[:16]).all()


@pytest.mark.parametrize(
    ("attrs", "width", "taken"),
    [({}, 48, True), ({"groups": 3}, 48, True), ({"groups": 2}, 50, True), ({"groups": 4}, 48, False), ({}, 15, False),
     ({"size": 4}, 48, False), ({"beta": 0.5}, 48, False)],
)  # fmt: skip
def test_is_for_the_usual_window_and_exponent(attrs: dict[str, Any], width: int, taken: bool) -> None:
    one = SingleLayer("lrn", attrs, [Tensor((2, width))], cpu())
    for direction in one.directions:
        assert (candidates(one.layer, one.t, "cpu", direction)[0] == "vectors") == taken
