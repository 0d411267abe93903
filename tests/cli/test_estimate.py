"""``netspec estimate``: what it reckons from what it measures, and that it leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_tools import MINI, netspec

from netspec.runners.estimate import Estimate


@pytest.fixture
def mini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini.yaml").write_text(MINI)
    return tmp_path


def test_time_memory_and_disk_are_told_and_nothing_is_written(mini: Path) -> None:
    said = netspec("estimate", "mini.yaml", "--seconds", "0.1", "--devices", "cpu:0,cpu:1")
    assert said.code == 0, said.err
    for word in ("training", "evaluation", "2 epochs", "memory", "'left'", "disk", "48 images and 16 to validate"):
        assert word in said.out
    assert [path.name for path in mini.iterdir()] == ["mini.yaml"]


def test_the_figures_go_together(mini: Path) -> None:
    options = ("--images", "1000", "--val-images", "500", "--epochs", "7", "--seconds", "0.1", "--json")
    found = json.loads(netspec("estimate", "mini.yaml", *options, "--devices", "cpu:0,cpu:1").out)
    assert found["training_s"] == pytest.approx(7 * 1000 / found["rate"])
    assert found["evaluation_s"] == pytest.approx(7 * 500 / found["eval_rate"])
    assert found["seconds"] == pytest.approx(found["training_s"] + found["evaluation_s"])
    assert found["iterations"] >= 3
    parameters = 8 * 8 * 3 * 8 + 8 + 8 * 3 + 3
    assert found["checkpoint"] == 4 * (2 * parameters + 8 * 8 * 3)
    assert found["dearest"][0][0] == "fc1"


def test_only_whole_batches_count() -> None:
    made = Estimate("a", ("cpu:0",), 32, 5, 100.0, 0.0, 0.0, 0.0, 100, 0, 2, "here", {"main": 1}, 10, True, ())
    assert made.seconds == pytest.approx(2 * 96 / 100.0)
    assert made.disk == 40


def test_what_a_run_refuses_is_refused(mini: Path) -> None:
    said = netspec("estimate", "mini.yaml", "--set", "train.batch=64", "--seconds", "0.1")
    assert said.code == 1
    assert "48 training images cannot fill a batch of 64" in said.err
