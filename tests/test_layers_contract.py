"""Every built-in layer type through every check of the contract suite, on CPUs; CUDA kernels in the simulator."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys

import pytest

from netspec.check import CHECKS
from netspec.check.subject import Subject
from netspec.check.suite import Check, outcome
from netspec.contract.kernel import Backend
from netspec.registry import layer_types

TYPES = sorted(name for name, cls in layer_types().items() if cls.__module__.startswith("netspec.layers."))
SIMULATED = """
import json, sys
from netspec.check.precision import check_cuda
from netspec.check.subject import Subject
from netspec.check.suite import outcome
result = outcome(check_cuda, Subject(sys.argv[1], ("cpu", "cuda")))
print(json.dumps([result.status, result.message]))
"""

subject = functools.cache(Subject)


@pytest.mark.parametrize("check", [c for c in CHECKS if "cuda" not in c.__name__], ids=lambda check: check.__name__)
@pytest.mark.parametrize("layer_type", TYPES)
def test_contract(layer_type: str, check: Check) -> None:
    result = outcome(check, subject(layer_type))
    if result.status == "skipped":
        pytest.skip(result.message)
    assert result.status == "passed", result.message


@pytest.mark.parametrize("layer_type", TYPES)
def test_cuda_in_simulator(layer_type: str) -> None:
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    command = [sys.executable, "-c", SIMULATED, layer_type]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    status, message = json.loads(done.stdout.splitlines()[-1])
    if status == "skipped" and "not installed" in message:
        pytest.skip(message)
    assert status == "passed", message


@pytest.mark.gpu
@pytest.mark.parametrize("check", [c for c in CHECKS if "cuda" in c.__name__], ids=lambda check: check.__name__)
@pytest.mark.parametrize("layer_type", TYPES)
def test_cuda(layer_type: str, check: Check) -> None:
    backends: tuple[Backend, ...] = ("cpu", "cuda")
    result = outcome(check, Subject(layer_type, backends))
    if result.status == "skipped":
        pytest.skip(result.message)
    assert result.status == "passed", result.message
