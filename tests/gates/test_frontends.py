"""Kernels through numba-cuda and through numba-cuda-mlir: what the gate says, and the same bits on the emulator."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
from places import ROOT

from netspec.errors import NetspecError
from netspec.gates.frontends import reason, table
from netspec.gates.signatures import Signature
from netspec.kernels.frontend import FRONTENDS, VARIABLE, frontend

needs_both = pytest.mark.skipif(
    find_spec("numba_cuda_mlir") is None or find_spec("numba_cuda") is None,
    reason="numba-cuda-mlir is not installed: pip install numba-cuda-mlir",
)
_BITS = """
import hashlib, json
from netspec.check.subject import Subject, draw
from netspec.check.writes import trip, variants_on
from netspec.device.emulated.device import EmulatedCuda
from netspec.kernels.numba_cuda import versions
card, bits = EmulatedCuda(), {}
for name in ("relu", "pool", "lrn"):
    for number, case in enumerate(Subject(name).cases):
        for single in variants_on(card, case):
            for key, array in trip(single, draw(case)).written.items():
                bits[f"{name} {number} {single.variant} {key}"] = hashlib.sha256(array.tobytes()).hexdigest()
print(json.dumps([versions(), bits]))
"""
_REFUSED = """
from netspec.errors import KernelError
from netspec.gates.assemble import ptx_of
from netspec.gates.signatures import Signature
for kernel, types in (("relu:forward_cuda", ("bfloat16[1C]",) * 2), ("ops.sum:zero_cuda", ("float32[2C]",))):
    try:
        ptx_of(Signature(kernel, "plain", types), (9, 0))
        print("taken")
    except KernelError as error:
        print(error)
"""


def test_an_unknown_front_end_is_told_with_the_known_ones(monkeypatch):
    for word in ("", *FRONTENDS):
        monkeypatch.setenv(VARIABLE, word)
        assert frontend() == (word or "numba-cuda")
    monkeypatch.setenv(VARIABLE, "numba")
    with pytest.raises(NetspecError, match=r"NETSPEC_CUDA_FRONTEND is 'numba'.* numba-cuda or numba-cuda-mlir"):
        frontend()


def test_refusals_are_grouped_by_reason():
    said = "cannot be compiled for GPUs by numba-cuda-mlir: no loops for '$12.{}', defined at /a/b.py (2)\n x"
    words = "/a/b.py:{}: {} " + said
    one, other, third = (Signature(f"sum:{name}", "plain", ()) for name in ("one", "other", "third"))
    jobs = [(each, (9, 0)) for each in (one, other, third)]
    before = dict.fromkeys(jobs, (10, 100))
    after = {jobs[0]: words.format(1, "a", 3), jobs[1]: words.format(9, "b", 4), jobs[2]: (15, 50)}
    assert reason(words.format(1, "a", 3)) == "no loops for"
    told = list(table(before, after))
    assert told[0].startswith("1 of 3 kernels taken")
    assert told[1].split() == f"2 refused: no loops for; for one {one.name}".split()
    assert told[-1].endswith("registers 1.50, 1.50, 1.50, instructions 0.50, 0.50, 0.50")


FOR_CPUS = "stored_arrays.py", "elementary.py", "cpu_extrema.py"


def test_what_intrinsics_build_with_is_there_for_both() -> None:
    """By their texts, as mlir_builder cannot be imported where numba-cuda-mlir is not installed."""
    folder = ROOT / "netspec" / "kernels"
    files = [file for file in folder.glob("*.py") if file.name not in FOR_CPUS]
    called = {name for file in files for name in re.findall(r"builder\.(\w+)\(", file.read_text())}
    (builder,) = (
        node
        for node in ast.parse((folder / "mlir_builder.py").read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "Builder"
    )
    there = {node.name for node in builder.body if isinstance(node, ast.FunctionDef)}
    there |= {one.id for one in ast.walk(builder) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    assert len(called) > 20 and not called - there


@needs_both
def test_both_give_the_same_bits_on_the_emulator():
    (first, bits), (second, others) = (json.loads(_run(_BITS, name)) for name in FRONTENDS)
    assert "numba-cuda 0" in first and second.startswith("numba-cuda-mlir ")
    assert len(bits) > 30 and bits == others


@needs_both
def test_what_the_successor_lacks_is_told_with_the_kernel():
    refused, taken = _run(_REFUSED, "numba-cuda-mlir").splitlines()
    assert "relu.py:" in refused and "forward_cuda cannot be compiled for GPUs by numba-cuda-mlir" in refused
    assert "stored_bfloat16" in refused and taken == "taken"


def _run(code: str, name: str) -> str:
    """What a program prints under a front end."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env={**os.environ, VARIABLE: name}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
