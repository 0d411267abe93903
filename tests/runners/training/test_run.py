"""Whole runs on two CPU devices: they learn, are repeatable and leave what they should."""

import json

import numpy as np
import pytest
from training_runs import SPEC, final, same, spec, told, train, whole

from netspec.errors import NetspecError, SpecError
from netspec.events import CheckpointWritten, EvaluationDone, IterationDone, Note, RunFinished, RunStarted
from netspec.rundir.directory import read_history, runs
from netspec.runners.training import checkpoint, opening

__all__ = ["spec", "whole"]


def test_learns_and_tells(spec):
    result, events = train(spec, epochs=12)
    assert result.status == "finished"
    assert result.exit_code == 0
    assert result.errors["top1"] <= 0.1
    assert told(events, RunStarted)[0].total_iterations == 60
    assert len(told(events, IterationDone)) == 60
    assert {event.images for event in told(events, EvaluationDone)} == {13}
    assert len(told(events, CheckpointWritten)) == 12
    assert told(events, RunFinished)[0].status == "finished"
    assert any("left is cpu:0" in note.text for note in told(events, Note))


def test_what_lies_in_the_directory(spec, whole):
    names = {path.name for path in whole.folder.iterdir()}
    expected = "spec.yaml spec.resolved.yaml environment.json metrics.jsonl log.txt history.jsonl classes.txt mean.npy"
    assert set(expected.split()) <= names
    assert (whole.folder / "spec.yaml").read_text() == SPEC
    assert "conv1" in (whole.folder / "spec.resolved.yaml").read_text()
    environment = json.loads((whole.folder / "environment.json").read_text())
    assert environment["packages"]["numpy"] == np.__version__
    assert np.load(whole.folder / "mean.npy").shape == (8, 8, 3)
    assert len((whole.folder / "classes.txt").read_text().splitlines()) == 3
    assert [entry["what"] for entry in read_history(whole.folder)] == ["start", "finished"]
    summary = runs(whole.folder.parent.parent)[0]
    assert (summary.status, summary.iteration, summary.epoch) == ("finished", 15, 3)
    record = checkpoint.read(whole.checkpoint).record
    assert (record.iteration, record.epoch, record.position, record.seed) == (15, 3, 0, 5)
    assert {"conv1.weight", "conv1.weight.momentum", "image.mean"} <= final(whole).keys()


@pytest.mark.parametrize(
    "options",
    [{}, {"runner": "serial"}, {"devices": "cpu:0,cpu:0"}, {"workers": 1}],
    ids=["again", "serial", "one-team", "worker"],
)
def test_the_same_bits(spec, whole, options):
    assert same(final(train(spec, **options)[0]), final(whole))


def test_another_seed_is_another_run(spec, whole):
    assert not same(final(train(spec, seed=6)[0]), final(whole))


@pytest.mark.parametrize(
    ("sets", "error", "message"),
    [
        (["train.batch=64"], NetspecError, "44 training images cannot fill a batch of 64"),
        (["layers.fc.units=2"], NetspecError, "the data has 3 classes, but the network has 2 outputs"),
        (
            ["train.schedule={type: plateau}", "data.source.val_images=0"],
            NetspecError,
            "there are no validation images",
        ),
        (["train.epochs=0"], SpecError, "'train.epochs' must be"),
        (["data.source={type: folder, path: /nowhere}"], NetspecError, "no such folder"),
    ],
)
def test_what_cannot_be_trained_leaves_no_directory(spec, sets, error, message):
    with pytest.raises(error, match=message):
        train(spec, overrides=sets)
    assert not (spec.parent / "runs").exists()


def test_a_trace_shows_steps_and_data(spec):
    train(spec, iterations=2, trace=spec.parent / "trace.json")
    events = json.loads((spec.parent / "trace.json").read_text())["traceEvents"]
    kinds = {event.get("cat") for event in events}
    assert {"forward", "backward", "transfer", "update", "data"} <= kinds
    lanes = {event["args"]["name"] for event in events if event["ph"] == "M"}
    assert {"left", "right", "training data", "validation data", "checkpoints"} <= lanes


def test_a_trace_that_cannot_be_written_is_told_before_training(spec):
    with pytest.raises(NetspecError, match=r"gone/trace\.json: the trace cannot be written"):
        train(spec, iterations=2, trace="gone/trace.json")
    assert not (spec.parent / "runs").exists()


def test_tensorboard_files(spec):
    result, _ = train(spec, iterations=2, tensorboard=True)
    assert next((result.folder / "tensorboard").glob("events.out.tfevents.*")).stat().st_size > 200


@pytest.mark.parametrize(
    ("options", "message"),
    [({"devices": "cpu:0"}, "1 name"), ({"devices": "tpu"}, "unknown device"), ({"runner": "quick"}, "unknown runner")],
)
def test_devices_and_runner_are_checked_before_images_are_opened(spec, monkeypatch, options, message):
    def opened(*args):
        raise AssertionError("the images were opened")

    monkeypatch.setattr(opening, "open_data", opened)
    with pytest.raises(NetspecError, match=message):
        train(spec, **options)
