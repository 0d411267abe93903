"""Runs on arrays, one for each network input by name: several images, sequences and numbers beside a label."""

import json
from pathlib import Path

import numpy as np
import pytest
from cli_tools import netspec
from training_runs import final, same, stopping_after, train

from netspec.data.dataset import open_dataset
from netspec.data.pipeline import Pipeline
from netspec.data.settings import DataSpec
from netspec.planning.trainable import inputs_read
from netspec.spec import load

SPEC = """
netspec: 1
name: named
devices: [left, right]
inputs:
  front: {shape: [8, 8, 3]}
  back: {shape: [2, 6, 6, 1]}
  pose: {shape: [5]}
  label: {dtype: int32}
layers:
  - {name: fc1, type: dense, device: [left, right], inputs: front, units: 8, init: {type: he}}
  - {name: relu1, type: relu}
  - {name: frame, type: select, device: right, inputs: back, index: 1}
  - {name: fc2, type: dense, units: 4, init: {type: he}}
  - {name: fc3, type: dense, device: left, inputs: pose, units: 4, init: {type: he}}
  - {name: relu3, type: relu}
  - name: fc4
    type: dense
    device: left
    inputs: [{from: relu1, connect: all}, {from: fc2, connect: all}, relu3]
    units: 3
    init: {type: he}
  - {name: loss, type: softmax_loss, inputs: [fc4, label]}
train: {batch: 8, epochs: 2, seed: 5, sgd: {learning_rate: 0.05}}
data: {source: {type: arrays, path: set}, scale: 0.01, mirror: true, workers: 0}
"""
NUMBERS = """
netspec: 1
name: numbers
devices: [left, right]
inputs:
  pose: {shape: [5]}
  label: {dtype: int32}
layers:
  - {name: fc1, type: dense, device: [left, right], inputs: pose, units: 8, init: {type: he}}
  - {name: relu1, type: relu}
  - {name: fc2, type: dense, device: left, inputs: {from: relu1, connect: all}, units: 3, init: {type: he}}
  - {name: loss, type: softmax_loss, inputs: [fc2, label]}
train: {batch: 8, epochs: 20, sgd: {learning_rate: 0.1}}
data: {source: {type: arrays, path: set}, workers: 0}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 44), ("val", 19)):
        folder = tmp_path / "set" / split
        folder.mkdir(parents=True)
        label = np.arange(count) % 3
        np.save(folder / "label.npy", label)
        np.save(folder / "front.npy", rng.integers(0, 256, (count, 8, 8, 3), np.uint8))
        np.save(folder / "back.npy", rng.integers(0, 256, (count, 3, 6, 6), np.uint8))
        np.save(folder / "pose.npy", np.eye(5)[label] + rng.normal(0, 0.1, (count, 5)))
    file = tmp_path / "named.yaml"
    file.write_text(SPEC)
    (tmp_path / "numbers.yaml").write_text(NUMBERS)
    return file


def array(spec: Path, name: str, split: str = "train") -> np.ndarray:
    return np.load(spec.parent / "set" / split / f"{name}.npy")


def batches(spec: Path, split: str, workers: int, start: int = 0, **data):
    """Arrays of an epoch's batches, by network input."""
    described = load(spec)
    read, source = inputs_read(described), open_dataset(described.data, 0)
    settings = DataSpec(described.data.source, mirror=True, **data)
    images = source.train if split == "train" else source.val
    found = []
    with Pipeline(images, settings, split, 8, read.shape, 3, workers, read.more) as pipeline:
        for batch in pipeline.epoch(0, start):
            arrays = {"front": batch.image, "label": batch.label, "index": batch.indices, **batch.named}
            found.append({name: values[: batch.valid].copy() for name, values in arrays.items()})
            batch.release()
    return found


def test_each_input_is_read_from_its_own_array_and_examples_stay_together(spec):
    found = {name: np.concatenate([one[name] for one in batches(spec, "val", 0)]) for name in ("front", "back", "pose")}
    assert (found["front"] == array(spec, "front", "val")).all()
    assert (found["back"][..., 0] == array(spec, "back", "val")[:, [0, 2]]).all()
    assert (found["pose"] == array(spec, "pose", "val").astype(np.float32)).all()
    for batch in batches(spec, "train", 0):
        assert (batch["pose"] == array(spec, "pose").astype(np.float32)[batch["index"]]).all()
        assert (batch["label"] == array(spec, "label")[batch["index"]]).all()
        straight = array(spec, "back")[batch["index"]][:, [0, 2]]
        mirrored = (batch["back"][..., 0] != straight).any((1, 2, 3))
        assert 0 < mirrored.sum() < 8
        assert (batch["back"][mirrored, ..., 0] == straight[mirrored][..., ::-1]).all()


def test_ten_views_of_an_example_have_its_numbers(spec):
    found = np.concatenate([one["pose"] for one in batches(spec, "val", 0, views=10)])
    assert (found.reshape(19, 10, 5) == array(spec, "pose", "val").astype(np.float32)[:, None]).all()


def test_any_number_of_workers_and_a_resumed_epoch_give_the_same_bits(spec):
    wanted = batches(spec, "train", 0)
    for got, expected in ((batches(spec, "train", 2), wanted), (batches(spec, "train", 2, start=3), wanted[3:])):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert same(one, other)


def test_a_run_goes_on_to_the_same_bits_and_is_evaluated(spec):
    whole, _ = train(spec)
    result, _ = train(spec, listener=stopping_after(6), workers=2)
    result, _ = train(None, resume=result.folder, workers=1)
    tensors = final(result)
    assert same(tensors, final(whole))
    assert (tensors["back.mean"][0] == tensors["back.mean"][1]).all()
    np.testing.assert_allclose(tensors["front.mean"], array(spec, "front").mean(0), atol=1e-4)
    said = netspec("eval", whole.folder, "--json")
    assert said.code == 0 and json.loads(said.out)["images"] == 19, said.err
    said = netspec("eval", whole.folder, "--views", 10, "--data", spec.parent / "set", "--split", "train")
    assert said.code == 0 and "44" in said.out, said.err
    said = netspec("predict", whole.folder, spec)
    assert said.code == 1 and "named does not read one image alone; there are: front [8, 8, 3] float32," in said.err


def test_images_that_stay_on_devices_have_their_numbers_beside_them(spec):
    left_out = ("back", "name: frame", "name: fc2")
    lines = [line for line in SPEC.splitlines() if not any(word in line for word in left_out)]
    spec.write_text("\n".join(lines).replace(" {from: fc2, connect: all},", ""))
    workers, devices = (train(spec, overrides=[f"data.resident={where}"])[0] for where in ("false", "true"))
    assert same(final(workers), final(devices))


def test_a_network_of_numbers_alone_learns(spec):
    out = spec.parent / "runs"
    said = netspec("run", spec.parent / "numbers.yaml", "--out", out, "--devices", "cpu")
    assert said.code == 0 and "val: top-1 error 0.0 %" in said.out, said
    assert "IMAGE" not in said.out
    run = next((out / "numbers").iterdir())
    assert netspec("eval", run).code == 0
    said = netspec("data", "show", spec.parent / "numbers.yaml", "--out", spec.parent / "sheet.png")
    assert said.code == 1 and "numbers reads no images" in said.err


def test_a_folder_of_arrays_is_known_by_what_is_in_it(spec):
    spec.write_text(SPEC.replace("source: {type: arrays, path: set}, ", ""))
    assert "without --data: training takes an image of shape" in netspec("validate", spec).out
    said = netspec("run", spec, "--data", spec.parent / "set", "--out", spec.parent / "runs", "--iterations", 1)
    assert said.code == 0 and "44 training and 19 validation images of 3 classes" in said.out, said
    said = netspec("run", spec, "--out", spec.parent / "runs")
    assert said.code == 1 and "training takes an image of shape" in said.err


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["data.source=generated"], "training takes an image of shape"),
        (["inputs.pose={shape: [5], dtype: int32}"], "'pose' is of whole numbers, as labels are"),
        (["inputs.back.shape=[2, 6, 6, 4]"], "images have 1 or 3 channels, and 'back' asks for 4"),
        (["data.augment={colour: {}}"], "colours are altered of one image, and the network reads 2"),
        (["data.resident=true"], "'data.resident' needs one image to be read, and the network reads 2"),
        (["inputs.other={dtype: int32}"], "training takes one label in int32; there are: front"),
        (["data.crop=7"], "'data.crop' is 7, but the network's input is 8 x 8"),
    ],
)
def test_what_no_array_can_feed_is_refused_by_validate_and_run(spec, sets, message):
    options = [word for one in sets for word in ("--set", one)]
    said = netspec("validate", spec, *options)
    assert said.code == 1 and message in said.err
    ran = netspec("run", spec, *options)
    assert ran.code == 1 and ran.err == said.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pose": None}, "named.yaml:8:3: no array is called 'pose'"),
        ({"pose": np.zeros((44, 4), np.float32)}, "'pose' has the shape [4] and is float32 in the data"),
        ({"pose": np.zeros((44, 5), np.int64)}, "named.yaml:8:3: 'pose' has the shape [5] and is int64 in the data"),
        ({"front": np.zeros((44, 9, 9, 3), np.float32)}, "'front' has the shape [9, 9, 3] and is float32 in the data"),
        ({"back": np.zeros((44, 1, 6, 6), np.uint8)}, "'back' has the shape [1, 6, 6] and is uint8"),
        ({"label": None}, "no array is called 'label'"),
        ({"label": np.full(44, -1)}, "label.npy: labels are from 0"),
        ({"label": np.arange(44)}, "the data has 44 classes, but the network has 3 outputs"),
        ({"pose": np.zeros((43, 5))}, "arrays of different numbers of examples: back 44, front 44, label 44, pose 43"),
        ({"pose": np.array([{}] * 44)}, "pose.npy: no array that numpy.load reads"),
    ],
)
def test_arrays_that_do_not_fit_are_told_with_their_place(spec, change, message):
    for name, values in change.items():
        file = spec.parent / "set" / "train" / f"{name}.npy"
        file.unlink()
        if values is not None:
            np.save(file, values)
    said = netspec("run", spec, "--out", spec.parent / "runs")
    assert said.code == 1 and message in said.err and "Traceback" not in said.err
    assert not (spec.parent / "runs").exists()
