"""Every built-in layer type through every check of the contract suite; for CUDA without a GPU see tests/emulate/."""

from __future__ import annotations

import functools

import pytest

from netspec.check import CHECKS
from netspec.check.subject import Subject
from netspec.check.suite import Check, outcome
from netspec.contract.kernel import Backend
from netspec.registry import layer_types

TYPES = sorted(name for name, cls in layer_types().items() if cls.__module__.startswith("netspec.layers."))

subject = functools.cache(Subject)


@pytest.mark.parametrize("check", [c for c in CHECKS if "cuda" not in c.__name__], ids=lambda check: check.__name__)
@pytest.mark.parametrize("layer_type", TYPES)
def test_contract(layer_type: str, check: Check) -> None:
    result = outcome(check, subject(layer_type))
    if result.status == "skipped":
        pytest.skip(result.message)
    assert result.status == "passed", result.message


@pytest.mark.gpu
@pytest.mark.parametrize("check", [c for c in CHECKS if "cuda" in c.__name__], ids=lambda check: check.__name__)
@pytest.mark.parametrize("layer_type", TYPES)
def test_cuda(layer_type: str, check: Check) -> None:
    backends: tuple[Backend, ...] = ("cpu", "cuda")
    result = outcome(check, Subject(layer_type, backends))
    if result.status == "skipped":
        pytest.skip(result.message)
    assert result.status == "passed", result.message
