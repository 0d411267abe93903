"""Evaluation and prediction from a checkpoint file alone, on any binding."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from data_samples import encoded, picture, write_folder
from PIL import Image
from training_runs import SPEC

from netspec.api import evaluate, predict, run
from netspec.errors import NetspecError
from netspec.events import EvaluationDone, EvaluationProgress, Note, TaskProgress
from netspec.rundir.metrics import read_metrics
from netspec.runners.scoring import told_broken
from netspec.runners.trained import find_checkpoint
from netspec.runners.training import checkpoint
from netspec.runners.training.saver import listed, ranked


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of ten epochs."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(SPEC)
    return run(folder / "tiny.yaml", out=folder, devices="cpu:0,cpu:1", epochs=10).folder


@pytest.fixture
def alone(trained, tmp_path) -> Path:
    """Its newest checkpoint, moved where nothing else lies."""
    return Path(shutil.copy(listed(trained / "checkpoints")[0], tmp_path / "alone.safetensors"))


@pytest.mark.parametrize("options", [{}, {"devices": "cpu:0,cpu:0"}, {"runner": "serial"}, {"batch": 5}])
def test_evaluates_as_it_did_in_training(trained, alone, options):
    events = []
    done = evaluate(alone, listener=events.append, **options)
    last = read_metrics(trained).evaluations[-1]
    assert done.errors == last["errors"]
    assert math.isclose(done.loss, last["loss"], rel_tol=1e-6)
    assert (done.images, done.split, done.iteration, done.epoch) == (13, "val", 50, 10)
    kinds = [type(event) for event in events]
    assert kinds[-1] is EvaluationDone
    assert {Note, EvaluationProgress} <= set(kinds)


def test_predicting_tells_how_many_are_done(trained):
    heard = []
    predict(trained, [np.zeros((12, 12, 3), np.uint8)] * 5, batch=2, listener=heard.append)
    told = [event for event in heard if isinstance(event, TaskProgress) and event.what == "predicting images"]
    assert (told[0].done, told[-1].done, told[-1].total, told[-1].over) == (0, 5, 5, True)


def test_a_run_means_its_best_checkpoint(trained):
    lines = read_metrics(trained).evaluations
    done = evaluate(trained)
    assert done.errors["top1"] == min(line["errors"]["top1"] for line in lines)


def test_a_checkpoint_that_a_training_run_deletes_meanwhile_is_passed_over(trained, tmp_path, monkeypatch):
    """Between the listing and the reading the run has pruned the best one: the next best is taken."""
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    first, second = (kept.path for kept in ranked(run / "checkpoints")[:2])
    read, asked = checkpoint.read, []

    def pruned(path):
        asked.append(path)
        path.unlink() if len(asked) == 1 else None
        return read(path)

    monkeypatch.setattr(checkpoint, "read", pruned)
    found, damaged = find_checkpoint(run)
    assert (found.path, damaged, asked) == (second, [], [first, second])
    for path in listed(run / "checkpoints"):
        path.unlink()
    with pytest.raises(NetspecError, match="no checkpoint there; give a run directory or a checkpoint file"):
        find_checkpoint(run)


def test_a_checkpoint_without_a_record_is_told_too(trained, tmp_path):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    first, *others = listed(run / "checkpoints")
    first.write_bytes(b"")
    assert [error.path for error in find_checkpoint(run)[1]] == [first]
    for path in others:
        path.write_bytes(b"")
    with pytest.raises(NetspecError, match=r"no checkpoint is whole and finite:\n.*cut off"):
        find_checkpoint(run)


def test_a_damaged_best_checkpoint_is_told_and_the_next_best_taken(trained, tmp_path):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    first, second = (kept.path for kept in ranked(run / "checkpoints")[:2])
    data = bytearray(first.read_bytes())
    data[-3] ^= 1
    first.write_bytes(data)
    events = []
    evaluate(run, listener=events.append)
    texts = [event.text for event in events if isinstance(event, Note)]
    assert texts[0].startswith(f"{first}: damaged: ") and texts[1].startswith(f"{second}: iteration ")


def test_the_training_images_can_be_evaluated(alone):
    assert evaluate(alone, split="train").images == 44


def test_ten_views_of_images_without_room_are_one(alone):
    one, ten = evaluate(alone), evaluate(alone, views=10)
    assert ten.images == one.images
    assert 0 < ten.loss != one.loss  # mirrored too


def test_other_classes_are_refused(alone, tmp_path):
    for split in ("train", "val"):
        for name in ("ant", "bee", "cat"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / split / name / "1.png")
    with pytest.raises(NetspecError, match=r"val: not classes of the network: 'ant', 'bee', 'cat'; those are 'blue"):
        evaluate(alone, data=tmp_path)


def test_a_set_to_be_evaluated_needs_no_training_images_and_may_lack_classes(alone, tmp_path):
    from netspec.runners.training import checkpoint

    classes = checkpoint.read(alone).record.classes
    pictures = [encoded(picture(i), "PNG") for i in range(2)]
    write_folder(tmp_path / "set", {f"{classes[c]}/deep/{i}.png": pictures[i] for c in (2, 0) for i in range(2)})
    heard: list = []
    done = evaluate(alone, data=tmp_path / "set", listener=heard.append)
    assert done.images == 4
    notes = [event.text for event in heard if isinstance(event, Note)]
    assert any(f"no images of 1 of the network's 3 classes: '{classes[1]}'" in note for note in notes)
    shutil.rmtree(tmp_path / "set" / classes[2])
    top = [prediction.top[0][0] for prediction in predict(alone, sorted((tmp_path / "set").rglob("*.png")), top=1)]
    found = evaluate(alone, data=tmp_path / "set")
    assert found.errors["top1"] == sum(name != classes[0] for name in top) / 2


@pytest.mark.parametrize("views", [1, 10])
def test_images_that_cannot_be_read_are_counted_named_and_left_out(alone, tmp_path, views):
    from netspec.runners.training import checkpoint

    classes = checkpoint.read(alone).record.classes
    good = {f"val/{classes[0]}/{i}.png": encoded(picture(i), "PNG") for i in range(30)}
    bad = {f"val/{classes[1]}/{i}\x1b.png": b"" for i in range(9)}
    evaluated = {}
    for name, content in (("good", good), ("both", good | bad)):
        heard: list = []
        data = write_folder(tmp_path / name, content)
        evaluated[name] = evaluate(alone, data=data, views=views, listener=heard.append)
        notes = [event.text for event in heard if isinstance(event, Note)]
    assert (evaluated["both"].images, evaluated["both"].broken, evaluated["good"].broken) == (30, 9, 0)
    assert evaluated["both"].errors == evaluated["good"].errors
    (told,) = [note for note in notes if "could not be read" in note]
    assert told.startswith("9 of 39 images could not be read; the figures are over the other 30:\n")
    assert rf"  val: {classes[1]}/0\x1b.png: an empty file" in told
    assert "\x1b" not in told


def test_a_set_with_no_readable_image_is_an_error(alone, tmp_path):
    from netspec.runners.training import checkpoint

    write_folder(tmp_path, {f"{name}/1.png": b"" for name in checkpoint.read(alone).record.classes})
    for views in (1, 10):
        with pytest.raises(NetspecError, match=r"none of the 3 images in .* can be read"):
            evaluate(alone, data=tmp_path, views=views)


def test_many_broken_images_are_told_in_a_few_lines():
    lines = told_broken([f"val: {i}" for i in range(50)], 1000).splitlines()
    assert len(lines) == 22
    assert lines[-1] == "  and 30 more"


def test_what_cannot_be_evaluated_is_one_line(alone, tmp_path):
    with pytest.raises(NetspecError, match="no such run or checkpoint"):
        evaluate(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NetspecError, match="no checkpoint there"):
        evaluate(tmp_path / "empty")
    with pytest.raises(NetspecError, match="views must be 1, 2 or 10, got 3"):
        evaluate(alone, views=3)
    alone.write_bytes(alone.read_bytes()[:-1])
    with pytest.raises(NetspecError, match=r"alone.safetensors: damaged"):
        predict(alone, [tmp_path / "x.png"])


def test_images_of_any_size_and_mode(alone, tmp_path):
    colour = (216, 36, 40)
    images = [
        Image.new("RGB", (8, 8), colour),
        Image.new("RGB", (8, 8), colour).convert("P"),
        Image.new("RGBA", (31, 17), (*colour, 255)),
        np.full((64, 9, 3), colour, np.uint8),
    ]
    Image.new("RGB", (200, 100), colour).save(tmp_path / "a.png")
    found = predict(alone, [*images, tmp_path / "a.png", str(tmp_path / "a.png")], top=2)
    assert [prediction.path for prediction in found[-2:]] == [str(tmp_path / "a.png")] * 2
    assert found[3].path == "image 3"
    for prediction in found:
        assert prediction.error is None
        assert prediction.top[0][0] == found[0].top[0][0]
        assert len(prediction.top) == 2
        assert prediction.top[0][1] >= prediction.top[1][1]


def test_grey_images_and_more_than_a_batch(alone):
    found = predict(alone, [np.full((8, 8), value, np.uint8) for value in range(0, 250, 50)], batch=2, top=9)
    assert len(found) == 5
    for prediction in found:
        assert len(prediction.top) == 3
        assert math.isclose(sum(share for _, share in prediction.top), 1.0, rel_tol=1e-5)


def test_prediction_agrees_with_evaluation(trained, alone):
    from netspec.data.dataset import open_dataset
    from netspec.runners.training import checkpoint
    from netspec.spec import from_canonical

    record = checkpoint.read(alone).record
    spec = from_canonical(record.spec)
    split = open_dataset(spec.data, spec.train.seed).val.at_size(8)
    found = predict(alone, [split.read(i) for i in range(len(split))], top=1)
    wrong = sum(one.top[0][0] != record.classes[label] for one, label in zip(found, split.labels, strict=True))
    assert wrong / len(split) == evaluate(alone).errors["top1"]


def test_unreadable_images_are_told_and_the_others_seen(alone, tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    given = [tmp_path / "absent.png", tmp_path / "text.jpg", tmp_path, np.zeros((2, 2, 9), np.uint8), np.zeros((4, 4))]
    found = predict(alone, [*given, Image.new("RGB", (8, 8))])
    assert all(prediction.error and not prediction.top for prediction in found[:5])
    assert found[0].error == "No such file or directory"
    assert found[1].error == "not an image in a known format"
    assert found[5].error is None
    assert predict(alone, []) == []
