"""Convolution by implicit GEMM: the contract's checks for shapes that fill register tiles, and that do not."""

from __future__ import annotations

import pytest

from netspec.check.precision import check_variants
from netspec.check.single import SingleLayer
from netspec.check.subject import Subject, cpu
from netspec.check.suite import Check
from netspec.check.writes import check_deterministic, check_team, check_written
from netspec.contract.tensor import Tensor
from netspec.registry import layer_types

CONV = layer_types()["conv"]
EXAMPLES = (
    {"attrs": {"filters": 48, "size": 5, "stride": 2, "pad": 1}, "inputs": [(3, 9, 11, 3)]},  # dy is one wide panel
    {"attrs": {"filters": 32, "size": 5, "pad": 2}, "inputs": [(2, 6, 7, 20)]},  # one narrow panel, packed channels
    {"attrs": {"filters": 16, "size": 4, "stride": 3, "rounding": "ceil"}, "inputs": [(2, 8, 8, 5)]},
    {"attrs": {"filters": 66, "size": [3, 4], "stride": 2, "groups": 2}, "inputs": [(2, 8, 8, 14)]},
    {"attrs": {"filters": 96, "size": 5, "groups": 2}, "inputs": [(2, 7, 8, 40)]},
    {"attrs": {"filters": 192, "size": 3, "pad": 1, "groups": 2}, "inputs": [(2, 6, 5, 6)]},  # dy as it lies
    {"attrs": {"filters": 96, "size": 1}, "inputs": [(2, 6, 5, 40)]},
    {"attrs": {"filters": 5, "size": 2, "pad": [5, 0, 0, 6]}, "inputs": [(2, 3, 4, 3)]},  # rows of padding alone
)
CHECKS = (check_written, check_deterministic, check_variants, check_team)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(example["inputs"][0]))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(check: Check, example, monkeypatch: pytest.MonkeyPatch) -> None:
    one = SingleLayer("conv", example["attrs"], [Tensor(example["inputs"][0])], cpu())
    assert any(one.layer.supports(one.t, name) for name in ("direct", "direct_strided"))
    monkeypatch.setattr(CONV, "examples", (example,))
    check(Subject("conv"))
