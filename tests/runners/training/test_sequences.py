"""Runs on sequences of frames: towers that share parameters, joined late; evaluated, predicted, resumed."""

import json

import numpy as np
import pytest
from cli_tools import netspec
from PIL import Image
from training_runs import final, same, stopping_after, train

from netspec.api import predict
from netspec.data.dataset import open_dataset
from netspec.events import IterationDone
from netspec.spec import load

VIDEO = """
netspec: 1
name: video
devices: [left, right]
inputs:
  video: {shape: [3, 8, 8, 3]}
  label: {dtype: int32}
layers:
  - {name: frame1, type: select, device: [left, right], split: none, inputs: video, index: 0}
  - {name: conv1, type: conv, filters: 4, size: 3, pad: 1, init: {type: he}}
  - {name: tower1, type: relu}
  - {name: frame2, type: select, device: [left, right], split: none, inputs: video, index: 1}
  - {name: conv2, type: conv, filters: 4, size: 3, pad: 1, share: conv1}
  - {name: tower2, type: relu}
  - {name: frame3, type: select, device: [left, right], split: none, inputs: video, index: 2}
  - {name: conv3, type: conv, filters: 4, size: 3, pad: 1, share: conv1}
  - {name: tower3, type: relu}
  - name: fc
    type: dense
    device: left
    units: 2
    inputs: [{from: tower1, connect: all}, {from: tower2, connect: all}, {from: tower3, connect: all}]
    init: {type: xavier}
  - {name: loss, type: softmax_loss, inputs: [fc, label]}
train: {batch: 8, epochs: 2, seed: 3, sgd: {learning_rate: 0.02}}
data:
  source: {type: moving, classes: 2, images: 40, val_images: 9, size: 10}
  resize: 10
  augment: {colour: {sigma: 0.2}}
  scale: 0.01
  workers: 0
"""


@pytest.fixture
def spec(tmp_path):
    file = tmp_path / "video.yaml"
    file.write_text(VIDEO)
    return file


@pytest.fixture
def whole(spec):
    return train(spec)[0]


def test_a_run_goes_on_to_the_same_bits_with_any_number_of_workers(spec, whole):
    result, _ = train(spec, listener=stopping_after(7), workers=2)
    result, events = train(None, resume=result.folder, workers=1)
    assert [event.iteration for event in events if isinstance(event, IterationDone)] == [8, 9, 10]
    assert same(final(result), final(whole))


def test_a_frame_that_is_not_there_is_refused_at_its_place(spec):
    said = netspec("validate", spec, "--set", "layers.frame3.index=3")
    assert said.code == 1 and "--set:1:21: frame3: there is no slice 3 among 3, counted from 0" in said.err


def test_sequences_do_not_stay_on_devices(spec):
    said = netspec("validate", spec, "--set", "data.resident=true")
    assert said.code == 1 and "'data.resident' is for single images, and 'video' takes sequences" in said.err


def test_it_is_evaluated_and_predicts_arrays_and_animations(spec, whole, tmp_path):
    frames = open_dataset(load(spec).data, 3).val.of_frames(3)
    sequences = [frames.read(i) for i in range(len(frames))]
    given = predict(whole.folder, [np.stack([np.asarray(one) for one in some]) for some in sequences])
    said = netspec("eval", whole.folder, "--json")
    assert said.code == 0, said.err
    wrong = sum(one.top[0][0] != frames.name(i).split("/")[1] for i, one in enumerate(given))
    assert json.loads(said.out)["errors"]["top1"] == pytest.approx(wrong / len(sequences))
    sequences[0][0].save(tmp_path / "one.png", save_all=True, append_images=sequences[0][1:])
    Image.new("RGB", (10, 10)).save(tmp_path / "still.png")
    files = predict(whole.folder, [tmp_path / "one.png", tmp_path / "still.png"])
    assert dict(files[0].top) == pytest.approx(dict(given[0].top), abs=1e-5)
    assert files[1].error == "1 frame, where the network takes 3"


def test_a_folder_of_animations_trains_and_still_images_are_refused(spec, tmp_path):
    for split in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for i in range(8):
                shades = [Image.new("RGB", (12, 12), (20 * i + n, 99, 9)) for n in range(0, 90, 30)]
                shades = shades if name == "a" else shades[::-1]
                shades[0].save(tmp_path / "set" / split / name / f"{i}.gif", save_all=True, append_images=shades[1:])
    out = tmp_path / "out"
    said = netspec("run", spec, "--data", tmp_path / "set", "--out", out, "--epochs", 1, "--devices", "cpu")
    assert said.code == 0 and "16 training and 16 validation images of 2 classes" in said.out, said.err
    said = netspec("data", "show", spec, "--data", tmp_path / "set", "--images", 4, "--out", tmp_path / "sheet.png")
    assert said.code == 0, said.err
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 3 * 96
    for file in (tmp_path / "set").rglob("*.gif"):
        Image.new("RGB", (12, 12)).save(file)
    said = netspec("run", spec, "--data", tmp_path / "set", "--out", out)
    assert said.code == 1 and "1 frame, where the network takes 3" in said.err and "Traceback" not in said.err
