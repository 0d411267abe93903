"""The GPU benchmark's own code: it is seldom run, and then there must be nothing wrong with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
    assert set(found) == {"architecture", "graphs", "steps"} and done.returncode == 0, done.stderr
    assert "loads and computes" in found["architecture"]["answer"] and found["graphs"]["right"]
    steps = {row["step"] for row in found["steps"]["rows"]}
    assert {"fc.forward@card", "fc.backward@card", "loss.forward@card"} <= steps
    text = (tmp_path / "out" / "report.md").read_text()
    assert text.splitlines()[2].startswith("- code for this card") and "| fc.forward@card |" in text
