"""The GPU benchmark's sections on a card that is not there: run by tests/benchmarks in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from gpu_parts import compare, network, questions

from netspec.program import tuning_table

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


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "little.yaml").write_text(SPEC)
    return str(tmp_path / "little.yaml")


def test_an_iteration_is_compared_with_cpus(spec):
    found = network.right(spec, 2, "float32")
    assert found["worst_error"] < 1e-5 and "of its largest value; loss" in found["answer"]


def test_every_step_is_timed(spec):
    found = network.steps(spec, 2, "float32", network.Ceilings(None, {}), float("inf"))
    assert {"fc.forward@card", "fc.backward@card", "loss.forward@card"} <= {row["step"] for row in found["rows"]}


def test_whole_iterations_are_measured_and_compared(spec):
    found = network.iterations(spec, 2, "cuda", "float32", budget=0.0)
    assert found["seconds_to_open"] > 0 and found["captured"] and found["iterations"] == 3 and not found["news"]
    assert questions.iteration(found)["answer"].startswith("replayed as a graph")
    rival = {"batch": 2, "precision": "float32", "images_per_second": 1.0}
    told = compare.training({"training": found, "torch, training": rival}, spec)
    assert told["answer"].startswith("float32, batch 2: ") and told["rows"][0]["ratio"] > 0


def test_memory_is_that_of_an_iteration(spec):
    found = network.memory_by_precision(spec, [2], ["bf16", "tf32"])
    (row,) = found["rows"]
    assert row["tf32 MiB"] == network.iterations(spec, 2, "cuda", "tf32", budget=0.0)["MiB"]
    assert row["share"] == row["bf16 MiB"] / row["tf32 MiB"]


@pytest.mark.parametrize("seconds", [0.0, pytest.param(1000.0, marks=pytest.mark.slow)])
def test_kernels_are_tuned_for_a_while_and_nothing_is_kept(seconds, spec):
    kept = tuning_table.cache_root
    found = network.tuned(spec, 2, "cuda", "tf32", seconds)
    assert "no kernel is wrong" in found["answer"] and found["images_per_second"] > 0 and found["tuned"]
    steps = {row["step"]: row for row in found["rows"]}
    assert set(steps) == ({"fc.forward@card", "fc.backward@card"} if seconds else set())
    assert not seconds or {"fastest", "otherwise", "plain", "tf32_64x64"} <= set(steps["fc.forward@card"])
    assert tuning_table.cache_root is kept and tuning_table.read("stand-in H200") == {}
