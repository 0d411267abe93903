"""The GPU benchmark's own code: it is seldom run, and then there must be nothing wrong with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SPEC = """
netspec: 1
name: little
devices: [card]
inputs:
  image: {shape: [1, 1, 3]}
  label: {dtype: int32}
layers:
  - {name: fc, type: dense, inputs: image, units: 10}
  - {name: loss, type: softmax_loss, inputs: [fc, label]}
train: {batch: 2}
data: {mean: none}
"""


def test_sections_are_run_and_reported(tmp_path):
    spec = tmp_path / "little.yaml"
    spec.write_text(SPEC)
    options = ["--one-device", spec, "--batch", "2", "--sections", "architecture", "graphs", "steps"]
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), str(tmp_path / "out"), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {name.partition(",")[0] for name in found} == {"machine", "architecture", "graphs", "steps"}
    assert done.returncode == 0, done.stderr
    assert "loads and computes" in found["architecture"]["answer"] and found["graphs"]["right"]
    timed = [section["rows"] for name, section in found.items() if name.startswith("steps")]
    steps = {row["step"] for row in timed[0]}
    assert {"fc.forward@card", "fc.backward@card", "loss.forward@card"} <= steps
    text = (tmp_path / "out" / "report.md").read_text()
    assert text.splitlines()[2].startswith("- the machine: ") and "numba-cuda" in text.splitlines()[2]
    assert text.splitlines()[3].startswith("- code for this card") and "| fc.forward@card |" in text


def test_an_iteration_is_compared_with_cpus(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu_parts import network

    spec = tmp_path / "little.yaml"
    spec.write_text(SPEC)
    found = network.right(str(spec), 2, "float32")
    assert found["worst_error"] < 1e-5 and "of its largest value; loss" in found["answer"]


def test_whole_iterations_are_measured_and_compared(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu_parts import compare, network, questions

    spec = tmp_path / "little.yaml"
    spec.write_text(SPEC)
    found = network.iterations(str(spec), 2, "cuda", None, budget=0.0)
    assert found["seconds_to_open"] > 0 and found["captured"] and found["iterations"] == 3 and not found["news"]
    assert questions.iteration(found)["answer"].startswith("replayed as a graph")
    told = compare.training(
        {"training": found, "torch, training": {"batch": 2, "best_images_per_second": 1.0}}, str(spec)
    )
    assert told["answer"].startswith("batch 2: ") and told["rows"][0]["ratio"] > 0
    step = {"step": "conv1.forward@card", "variant": "plain", "ms": 2.0}
    rival = {"layer": "conv1", "mode": "float32", "forward_ms": 1.0}
    (row,) = compare.convolutions({"steps": {"rows": [step]}, "torch, convolutions": {"rows": [rival]}})["rows"]
    assert row["share_of_cudnn"] == 0.5


@pytest.mark.parametrize("seconds", [0.0, pytest.param(1000.0, marks=pytest.mark.slow)])
def test_kernels_are_tuned_for_a_while_and_nothing_is_kept(seconds, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu_parts import network

    from netspec.program import tuning_table

    spec, kept = tmp_path / "little.yaml", tuning_table.cache_root
    spec.write_text(SPEC)
    found = network.tuned(str(spec), 2, "cuda", "tf32", seconds)
    assert "no kernel is wrong" in found["answer"] and found["images_per_second"] > 0 and found["tuned"]
    steps = {row["step"]: row for row in found["rows"]}
    assert set(steps) == ({"fc.forward@card", "fc.backward@card"} if seconds else set())
    assert not seconds or {"fastest", "otherwise", "plain", "tf32_64x64"} <= set(steps["fc.forward@card"])
    assert tuning_table.cache_root is kept and tuning_table.read("simulated GPU") == {}
