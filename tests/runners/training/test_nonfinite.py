"""Numbers that are not finite end a run, an evaluation or a prediction with a cause; checkpoints hold none of them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_tools import netspec
from nets import BATCH, RATES, TWO_TOWERS, batch, network
from PIL import Image
from training_runs import told, train

from netspec.api import evaluate, predict
from netspec.errors import NetspecError
from netspec.events import CheckpointWritten, EvaluationDone, Note, RunFinished
from netspec.runners.execution.session import Session
from netspec.runners.training import checkpoint
from netspec.runners.training.checkpoint import Checkpoint
from netspec.runners.training.saver import listed

DEEP = """
netspec: 1
name: deep
devices: [a]
inputs:
  image: {shape: [4, 4, 3]}
  label: {dtype: int32}
layers:
  - {name: f1, type: dense, inputs: image, units: 8, init: {type: he}}
  - {name: r1, type: relu}
  - {name: f2, type: dense, units: 8, init: {type: he}}
  - {name: r2, type: relu}
  - {name: f3, type: dense, units: 3, init: {type: he}}
  - {name: loss, type: softmax_loss, inputs: [f3, label]}
train: {batch: 4, epochs: 3, sgd: {learning_rate: 1.0e-6}, schedule: {type: constant}}
data: {source: {type: generated, classes: 3, images: 12, val_images: 8}, mean: none, workers: 0}
"""
CPU = {"devices": "cpu:0", "workers": 0}
OVERFLOWS = ["train.solver.learning_rate=3.0e+38"]


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "deep.yaml"
    file.write_text(DEEP)
    return file


def spoil(path: Path, **tensors: float) -> Path:
    """The checkpoint with the first number of each of these tensors replaced."""
    found = checkpoint.read(path)
    changed = {name: array.copy() for name, array in found.tensors.items()}
    for name, value in tensors.items():
        changed[name.replace("_", ".")].flat[0] = value
    checkpoint.write(path, Checkpoint(found.record, changed))
    return path


# The update ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runner", ["serial", "local"])
@pytest.mark.parametrize("name", ["conv1.weight", "fc4.bias", "fc5.weight"])
def test_an_update_that_overflows_is_told_by_name_until_tensors_are_loaded_anew(name, runner):
    with Session(network(TWO_TOWERS), ["cpu:0", "cpu:1"], phases=("train",), runner=runner) as session:
        before = session.store.tensors()
        momentum = before[f"{name}.momentum"].copy()
        momentum.flat[-1] = 3e38
        session.store.load({**before, f"{name}.momentum": momentum})
        outcome = session.train(batch(), 0, BATCH, RATES._replace(numbers=(2.0, 0.001)))
        assert outcome.finite and outcome.overflowed == (name,)
        spoilt = {name for name, array in session.store.tensors().items() if not np.isfinite(array).all()}
        assert spoilt == {name, f"{name}.momentum"}
        session.store.load(before)
        assert session.train(batch(), 1, BATCH, RATES).overflowed == ()


def test_it_ends_the_run_and_leaves_the_checkpoint_before(spec):
    first, _ = train(spec, epochs=1, **CPU)
    events: list = []
    with pytest.raises(NetspecError) as caught:
        train(None, resume=str(first.folder), epochs=3, listener=events.append, overrides=OVERFLOWS, **CPU)
    said = str(caught.value)
    assert re.match(r"iteration 4 \(epoch 2\): the update made f\d\.\w+.* infinite or NaN, of gradients that", said)
    assert "Try a lower rate (it was 3e+38;" in said
    assert f"the last whole checkpoint is {listed(first.folder / 'checkpoints')[0].name}" in said
    assert [path.name for path in listed(first.folder / "checkpoints")] == ["iteration-00000003.safetensors"]
    assert told(events, RunFinished)[0].status == "failed"
    assert not told(events, CheckpointWritten) and not told(events, EvaluationDone)
    assert train(None, resume=str(first.folder), epochs=3, **CPU)[0].iteration == 9


def test_it_ends_the_run_in_its_last_iteration_too(spec):
    with pytest.raises(NetspecError, match=r"the update made .* there is no checkpoint yet"):
        train(spec, iterations=1, overrides=OVERFLOWS, **CPU)
    assert not list(spec.parent.rglob("*.safetensors"))


# Evaluation and prediction ------------------------------------------------------------------------------------------


@pytest.fixture
def trained(spec) -> Path:
    """A checkpoint alone whose first layer overflows where an image is bright, and is finite where it is black."""
    result, _ = train(spec, epochs=1, **CPU)
    found = checkpoint.read(result.checkpoint)
    huge = {**found.tensors, "f1.weight": np.full_like(found.tensors["f1.weight"], 3e38)}
    path = spec.parent / "huge.safetensors"
    checkpoint.write(path, Checkpoint(found.record, huge))
    return path


FIRST = "the first numbers that are not finite come from the forward pass of 'f1' on a"


def test_an_evaluation_that_is_not_finite_is_an_error_with_the_layer(trained):
    with pytest.raises(NetspecError) as caught:
        evaluate(trained, **CPU)
    assert str(caught.value) == f"{trained}: the loss of an evaluated batch is nan; {FIRST}"
    with pytest.raises(NetspecError) as caught:
        evaluate(trained, views=10, **CPU)
    assert re.fullmatch(rf".*huge.safetensors: .+: its probabilities are not finite; {FIRST}", str(caught.value))


def test_the_command_ends_with_1_and_one_message(trained):
    for views in ("1", "10"):
        said = netspec("eval", trained, "--views", views, "--devices", "cpu", "--workers", 0)
        assert said.code == 1 and "evaluated" not in said.out
        assert said.err.count("\n") == 1 and FIRST in said.err


def test_a_prediction_that_is_not_finite_names_the_images(trained, tmp_path):
    bright, black = tmp_path / "bright.png", tmp_path / "black.png"
    Image.new("RGB", (4, 4), (250, 250, 250)).save(bright)
    Image.new("RGB", (4, 4)).save(black)
    found = predict(trained, [black, bright, black], devices="cpu:0")
    assert [one.error for one in found] == [None, f"its probabilities are not finite; {FIRST}", None]
    assert [len(one.top) for one in found] == [3, 0, 3]
    said = netspec("predict", trained, bright, black, "--devices", "cpu")
    assert said.code == 1
    assert f"{bright}: its probabilities are not finite" in said.err and str(black) in said.out


def test_a_probability_of_0_is_a_loss_and_no_fault(spec):
    result, _ = train(spec, epochs=1, **CPU)
    found = checkpoint.read(result.checkpoint)
    bias = np.array([1e4, 0, 0], np.float32)
    checkpoint.write(result.checkpoint, Checkpoint(found.record, {**found.tensors, "f3.bias": bias}))
    done = evaluate(result.checkpoint, views=10, **CPU)
    assert 0 < done.loss < 104 and done.errors["top1"] > 0


def test_an_evaluation_within_a_run_ends_it_and_leaves_the_checkpoint_before(spec, tmp_path):
    """Black images to train on, bright ones to validate on, and a first layer that only bright ones overflow."""
    for split, colour in (("train", (0, 0, 0)), ("val", (250, 250, 250))):
        for name in ("ant", "bee"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (4, 4), colour).save(tmp_path / f"images/{split}/{name}/{number}.png")
    text = DEEP.replace("inputs: image, units: 8, init: {type: he}", "inputs: image, units: 8, init: HUGE")
    spec.write_text(text.replace("HUGE", "{type: constant, value: 3.0e+38}"))
    events: list = []
    with pytest.raises(NetspecError) as caught:
        train(spec, data=tmp_path / "images", checkpoint_every=0.0, listener=events.append, **CPU)
    said = rf"evaluation after iteration 2 \(epoch 1\): the loss of an evaluated batch is nan; {FIRST}\. Try a lower "
    assert re.match(said, str(caught.value))
    assert "the last whole checkpoint is iteration-00000001.safetensors" in str(caught.value)
    assert [(event.iteration, event.best) for event in told(events, CheckpointWritten)] == [(1, False)]
    assert not told(events, EvaluationDone) and told(events, RunFinished)[0].status == "failed"


# Images that cannot be read ------------------------------------------------------------------------------------------


@pytest.fixture
def unreadable(tmp_path: Path) -> Path:
    """A folder of two classes with images to train on, and text where images to validate on should be."""
    for name in ("ant", "bee"):
        for split in ("train", "val"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (4, 4), (60 * number, 9, 9)).save(tmp_path / f"images/train/{name}/{number}.png")
            (tmp_path / f"images/val/{name}/{number}.png").write_text("429 Too Many Requests")
    return tmp_path / "images"


NONE = r"none of the 8 images in .*/val can be read\n  ant/0.png: not an image in a known format"


def test_a_split_without_a_readable_image_is_an_error(spec, unreadable):
    events: list = []
    with pytest.raises(NetspecError, match=NONE):
        train(spec, data=unreadable, listener=events.append, **CPU)
    assert not told(events, EvaluationDone)
    assert [event.best for event in told(events, CheckpointWritten)] == [False]  # what was learned is kept
    path = told(events, CheckpointWritten)[0].path
    for views in (1, 10):
        with pytest.raises(NetspecError, match=NONE):
            evaluate(path, views=views, **CPU)
    said = netspec("eval", path, "--devices", "cpu", "--workers", 0)
    assert said.code == 1 and re.search(NONE, said.err)


# Checkpoints from elsewhere ------------------------------------------------------------------------------------------

SPOILT = r"iteration-00000009.safetensors: not finite: f2.weight of it holds NaN or infinities"


def test_a_checkpoint_of_nan_is_neither_resumed_from_nor_evaluated(spec):
    result, _ = train(spec, **CPU)
    newest, before = listed(result.folder / "checkpoints")[:2]
    spoil(newest, f2_weight=np.nan)
    for use in (evaluate, lambda path, **options: predict(path, [np.zeros((4, 4, 3), np.uint8)], devices="cpu:0")):
        with pytest.raises(NetspecError, match=SPOILT):
            use(newest, **CPU)
    with pytest.raises(NetspecError, match=SPOILT):
        train(None, resume=str(newest), out=spec.parent / "runs", **CPU)
    second, events = train(None, resume=str(result.folder), **CPU)
    assert second.status == "finished" and second.folder == result.folder
    texts = [note.text for note in told(events, Note)]
    assert any(re.search(SPOILT + ".*; set aside as", text) for text in texts)
    assert any(text.startswith(f"going on from {before}") for text in texts)


def test_of_a_run_the_best_one_that_is_finite_is_evaluated(spec):
    result, _ = train(spec, **CPU)
    paths = listed(result.folder / "checkpoints")
    for path in paths:
        found = checkpoint.read(path)
        evaluated = replace(found.record.evaluated, errors={"top1": 1.0 / found.record.iteration})
        checkpoint.write(path, Checkpoint(replace(found.record, evaluated=evaluated), found.tensors))
    spoil(paths[0], f2_weight=-np.inf)  # the newest has the least error
    events: list = []
    assert evaluate(result.folder, listener=events.append, **CPU).iteration == 6
    assert any(re.search(SPOILT + ".*; passed over", note.text) for note in told(events, Note))
    for path in paths[1:]:
        spoil(path, f1_bias=np.inf)
    with pytest.raises(NetspecError, match=r"(?s)no checkpoint is whole and finite:\n.*f2.weight.*f1.bias"):
        predict(result.folder, [np.zeros((4, 4, 3), np.uint8)], devices="cpu:0")
    with pytest.raises(NetspecError, match=r"(?s)no checkpoint is whole and finite:\n"):
        train(None, resume=str(result.folder), **CPU)
