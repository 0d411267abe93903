"""``netspec estimate``: what it extrapolates from what it measures, and that it leaves nothing behind."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from cli_tools import MINI, netspec

from netspec._types import Binding
from netspec.events import Event, Note, TaskProgress
from netspec.report.progress import Progress
from netspec.runners.estimate import Estimate, estimate
from netspec.runners.training import opening
from netspec.runners.training.request import Request


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


def test_no_mean_image_is_computed(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(opening, "ImageConstants")
    said = netspec("estimate", "mini.yaml", "--seconds", "0.1", "--devices", "cpu:0,cpu:1")
    assert said.code == 0, said.err


def test_only_whole_batches_count() -> None:
    whole = {"name": "a", "devices": ("cpu:0",), "batch": 32, "images": 100, "val_images": 0, "epochs": 2}
    sizes = {"where": "here", "memory": {"main": 1}, "checkpoint": 10, "dearest": ()}
    made = Estimate(rate=100.0, eval_rate=0.0, **whole, **sizes)
    assert made.seconds == pytest.approx(2 * 96 / 100.0)
    assert made.disk == 40


def test_what_a_run_refuses_is_refused(mini: Path) -> None:
    said = netspec("estimate", "mini.yaml", "--set", "train.batch=64", "--seconds", "0.1")
    assert said.code == 1
    assert "48 training images cannot fill a batch of 64" in said.err


def test_a_gpu_that_is_not_here_is_estimated(mini: Path) -> None:
    options = ("--device", "H100", "--images", "1000", "--val-images", "500", "--epochs", "7")
    said = netspec("estimate", "mini.yaml", *options)
    assert said.code == 0, said.err
    for word in ("H100", "by a model", "roofline", "within 15 % of it", "'left'", "disk", "most time"):
        assert word in said.out
    found = json.loads(netspec("estimate", "mini.yaml", *options, "--json").out)
    assert found["training_s"] == pytest.approx(7 * 1000 / found["rate"])
    assert found["rate"] < found["most"]
    parameters = 8 * 8 * 3 * 8 + 8 + 8 * 3 + 3
    assert found["checkpoint"] == 4 * (2 * parameters + 8 * 8 * 3)
    assert [path.name for path in mini.iterdir()] == ["mini.yaml"]


@pytest.mark.parametrize("name", ["a100", "RTX4090"])
def test_a_gpu_that_nothing_was_measured_on_says_so(mini: Path, name: str) -> None:
    options = ("estimate", "mini.yaml", "--device", name, "--images", "1000")
    said = netspec(*options)
    assert said.code == 0, said.err
    assert "modelled, not measured" in said.out and "data sheet" in said.out
    assert "netspec tune on the card" not in said.out and "were measured on the card" not in said.out
    found = json.loads(netspec(*options, "--json").out)
    assert (found["error"], found["checked"], found["tuned"]) == (None, "", 1.0)


def test_a_larger_batch_is_advised_where_it_gains(mini: Path) -> None:
    found = json.loads(netspec("estimate", "mini.yaml", "--device", "h100", "--json").out)
    gains = {one["set"]: one["factor"] for one in found["changes"]}
    doubled = f"train.batch={2 * found['batch']}"
    assert gains[doubled] > 1.03
    other = json.loads(netspec("estimate", "mini.yaml", "--device", "h100", "--json", "--set", doubled).out)
    assert other["rate"] / found["rate"] == pytest.approx(gains[doubled])


def test_what_no_card_was_asked_is_told(mini: Path) -> None:
    given = ("estimate", "mini.yaml", "--device", "h100", "--set", "train.precision=float32")
    assert "measured in tf32 and bf16, not in this precision" in netspec(*given).out
    assert json.loads(netspec(*given, "--json").out)["error"] is None


def test_images_are_not_looked_for_where_their_number_is_given(mini: Path) -> None:
    source = ("--set", "data.source={type: folder, path: nowhere}")
    said = netspec("estimate", "mini.yaml", "--device", "h100", "--images", "1000", *source)
    assert said.code == 0, said.err
    assert "not looked at" in said.out
    assert netspec("estimate", "mini.yaml", "--device", "h100", *source).code == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--device", "h300"), "there is no model of 'h300': known are h100, h200, a100, rtx3090"),
        (("--device", "h100", "--devices", "cpu"), "leave one of them out"),
        (("--device", "h100", "--workers", "2"), "leave one of them out"),
        (("--seconds", "1", "--device", "h100"), "leave one of them out"),
    ],
)
def test_what_means_nothing_is_refused(mini: Path, options: tuple[str, ...], message: str) -> None:
    said = netspec("estimate", "mini.yaml", *options)
    assert said.code == 2
    assert message in said.err


def test_what_is_measured_is_told(mini: Path) -> None:
    told: list[Event] = []
    estimate(Request("mini.yaml", None, (), Binding(["cpu:0", "cpu:1"])), 0.1, listener=told.append)
    tasks = [event.what for event in told if isinstance(event, TaskProgress) and event.over]
    assert tasks[-2:] == ["measuring iterations", "measuring batches of an evaluation"]


def test_what_comes_before_all_that_is_told_is_a_start() -> None:
    stream, now = io.StringIO(), [0.0]
    listener = Progress(stream, lambda: now[0])
    for second, event in ((1.0, Note("images")), (4.0, None), (5.0, TaskProgress("compiling", 0, 0)), (6.9, None)):
        now[0] = second
        listener(event) if event else listener.tick()
    assert stream.getvalue().splitlines() == ["images", "starting, 4 s"]
