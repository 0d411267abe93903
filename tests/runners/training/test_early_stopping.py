"""Early stopping: when it ends a run, what it says, and that it goes on after a resumption as without."""

import json

import pytest
from cli_tools import netspec
from places import PLUGINS
from training_runs import SPEC, final, same, spec, stopping_after, told, train, whole

from netspec.events import IterationDone, RunFinished
from netspec.rundir.directory import read_history
from netspec.runners.training import checkpoint
from netspec.runners.training.saver import ranked
from netspec.spec.types import StopSpec

__all__ = ["spec", "whole"]

NEVER_BETTER = ["train.epochs=9", "train.early_stopping={patience: 2, min_delta: 1.0}"]
"""An error is at most 1, so that none but the first counts: the run ends after the third epoch."""


@pytest.mark.parametrize(
    ("settings", "errors", "over"),
    [
        ({}, (), False),
        ({"patience": 2}, (0.5, 0.4, 0.4), False),
        ({"patience": 2}, (0.5, 0.4, 0.4, 0.41), True),
        ({"patience": 2}, (0.5, 0.4, 0.4, 0.39), False),
        ({"patience": 1}, (0.5, 0.5), True),
        ({"patience": 2, "min_delta": 0.1}, (0.5, 0.45, 0.41), True),
        ({"patience": 2, "min_delta": 0.1}, (0.5, 0.45, 0.39), False),
    ],
)
def test_patience_counts_epochs_since_the_last_better_error(settings, errors, over):
    assert StopSpec(**settings).is_over(errors) == over


def test_a_run_ends_early_and_says_why(spec, whole):
    result, events = train(spec, overrides=NEVER_BETTER)
    assert (result.status, result.epoch, result.iteration) == ("finished", 3, 15)
    assert same(final(result), final(whole))  # of three epochs without early stopping
    end = told(events, RunFinished)[0]
    best = ranked(result.folder / "checkpoints")[0]
    assert "stopped early: no better top-1 error in validation by more than 1 in 2 epochs; the best" in end.message
    assert end.message.endswith(f"take the checkpoint after epoch {best.iteration // 5}")
    assert any(command.endswith("--set train.early_stopping=null") for command in end.commands)
    assert read_history(result.folder)[-1]["message"] == end.message
    assert end.message in (result.folder / "log.txt").read_text()


@pytest.mark.parametrize("stop", [7, 10, 14])
def test_a_resumed_run_ends_as_one_that_was_never_stopped(spec, whole, stop):
    train(spec, overrides=NEVER_BETTER, listener=stopping_after(stop), out=spec.parent / "others")
    second, _ = train(spec, resume="latest", out=spec.parent / "others")
    assert (second.status, second.iteration) == ("finished", 15)
    assert same(final(second), final(whole))
    record = checkpoint.read(second.checkpoint).record
    assert record.validation_errors == checkpoint.read(whole.checkpoint).record.validation_errors


def test_a_run_that_ended_early_goes_on_only_when_told_to(spec):
    first, _ = train(spec, overrides=NEVER_BETTER)
    again, events = train(None, resume=str(first.folder))
    assert again.iteration == 15 and not told(events, IterationDone)
    longer, _ = train(None, resume=str(first.folder), epochs=4, overrides=["train.early_stopping=null"])
    assert longer.iteration == 20


def test_a_network_without_errors_goes_by_its_loss(spec):
    spec.write_text(SPEC.replace("softmax_loss", "squared_cost").replace("0.05", "0.0"))  # a loss that stays the same
    plugin = PLUGINS / "squared_cost.py"
    result, events = train(spec, overrides=["train.early_stopping={patience: 1}"], plugins=[plugin])
    assert result.epoch == 2
    assert "the best is loss " in told(events, RunFinished)[0].message


@pytest.mark.parametrize("command", ["validate", "run"])
def test_without_validation_images_it_is_refused(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = SPEC.replace("seed: 5", "seed: 5, early_stopping: {}").replace("val_images: 13", "val_images: 0")
    (tmp_path / "none.yaml").write_text(text)
    said = netspec(command, "none.yaml")
    assert said.code == 1
    assert "early stopping follows the validation error, and there are no validation images" in said.err
    assert "none.yaml:" in said.err


@pytest.mark.parametrize("wrong", ["{patience: 0}", "{min_delta: -1}", "{patient: 3}", "5"])
def test_wrong_settings_are_refused_with_their_place(wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.yaml").write_text(SPEC.replace("seed: 5", f"seed: 5, early_stopping: {wrong}"))
    said = netspec("validate", "wrong.yaml", "--json")
    problem = json.loads(said.out)[0]["problems"][0]
    assert "early_stopping" in problem["message"] and problem["line"]
