"""Dense layers of a few rows: against numpy in float64, the contract's checks over several blocks, the choice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netspec.check.compare import error
from netspec.check.precision import check_variants
from netspec.check.shards import check_shards
from netspec.check.single import SingleLayer
from netspec.check.subject import Subject, cpu
from netspec.check.suite import Check
from netspec.check.writes import check_team, check_written
from netspec.contract.tensor import Shape, Tensor
from netspec.layers._cpu import dense_gemv as gemv
from netspec.registry import layer_types

DENSE = layer_types()["dense"]
LONG = 2 * gemv.ROWS + 13


def single(shape: Shape, units: int, groups: int = 1, dtype: str = "float32") -> SingleLayer:
    attrs = {"units": units, "groups": groups}
    return SingleLayer("dense", attrs, [Tensor(shape)], cpu(), variant="gemv", dtype=dtype)


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
@pytest.mark.parametrize(("units", "groups"), [(1, 1), (gemv.STRIP + 37, 1), (66, 3)])
@pytest.mark.parametrize("depth", [5, LONG])
def test_gives_what_numpy_gives_in_float64(batch: int, units: int, groups: int, depth: int) -> None:
    rng = np.random.default_rng(batch)
    x, weight, bias = (rng.standard_normal(size) for size in ((batch, groups * depth), (depth, units), (units,)))
    parts = zip(np.split(x, groups, axis=1), np.split(weight, groups, axis=1), strict=True)
    wanted = np.concatenate([one @ two for one, two in parts], axis=1) + bias
    for dtype, bound in (("float64", 1e-13), ("float32", 1e-5)):
        one = single((batch, groups * depth), units, groups, dtype)
        assert error(one.forward({"x": x, "weight": weight, "bias": bias})["y"], wanted) < bound


EXAMPLES: tuple[dict[str, Any], ...] = (
    {"attrs": {"units": 18}, "inputs": [(3, 3, 3, LONG // 9)]},
    {"attrs": {"units": 8, "groups": 2, "bias": False}, "inputs": [(2, 2 * LONG)]},
)


@pytest.mark.parametrize(
    "check",
    [check_written, check_variants, check_team, check_shards],
    ids=lambda check: check.__name__,
)
def test_contract(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DENSE, "examples", EXAMPLES)
    check(Subject("dense"))


def test_is_for_a_few_rows_and_channels_side_by_side() -> None:
    for shape, groups, fits in [((8, 4), 1, True), ((9, 4), 1, False), ((1, 4), 2, True), ((1, 2, 2, 4), 2, False)]:
        one = single(shape, 6, groups)
        assert one.layer.supports(one.t, "gemv") == fits
