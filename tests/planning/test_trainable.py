"""What ``run`` refuses because of the spec alone, ``validate`` tells, with its place; and nothing else."""

import pytest
from cli_tools import MINI, netspec

from netspec.errors import NetspecError, SpecError
from netspec.planning import check
from netspec.planning.trainable import inputs_read
from netspec.spec import loads

REFUSED = {
    "four channels": (["inputs.image.shape=[8, 8, 4]"], "--set:1:20: images have 1 or 3 channels, and"),
    "whole numbers": (["inputs.image.dtype=int32"], "--set:1:7: training takes an image of shape"),
    "real labels": (["inputs.label.dtype=float32"], "--set:1:7: training takes an image of shape"),
    "two images": (["inputs.other={shape: [8, 8, 3]}"], "--set:1:7: training takes an image of shape"),
    "crop": (["data.crop=4"], "--set:1:12: 'data.crop' is 4, but the network's input is 8 x 8"),
    "crop of an oblong": (["data.crop=8", "inputs.image.shape=[8, 9, 3]"], "--set:1:12: 'data.crop' is 8, but"),
    "batch": (["train.batch=49"], "--set:1:13: 48 training images cannot fill a batch of 49 (lower train.batch)"),
    "classes": (["data.source.classes=4"], "the data has 4 classes, but the network has 3 outputs"),
    "plateau": (
        ["data.source.val_images=0", "train.schedule={type: plateau}"],
        "--set:2:22: 'plateau' follows the validation error, and there are no validation images",
    ),
    "no cost": (["layers.loss={remove: true}"], "no layer is a cost"),
    "shapes": (["layers.fc1.units=7"], "units is 7, which cannot be split evenly over 2 devices"),
    "a maximum that counts padding": (
        ["layers.relu1={type: pool, mode: max, size: 1, count_include_pad: true}"],
        "relu1: a maximum counts no pixels",
    ),
    "sequences for a network of images": (
        ["data.source=moving"],
        "--set:1:19: 'moving' has sequences of frames, but 'image' takes single images",
    ),
    "images for a network of sequences": (
        ["inputs.image.shape=[2, 8, 8, 3]"],
        "'generated' has single images, but 'image' takes sequences of frames",
    ),
    "sequences of four channels": (["inputs.image.shape=[2, 8, 8, 4]"], "--set:1:20: images have 1 or 3 channels"),
    "no such source": (["data.source=nosuch"], "--set:1:19: unknown source 'nosuch'"),
    "not in float32": (["train.solver.learning_rate=1.0e+39"], "a finite number of float32 of at least 0, got"),
    "all frozen": (["train.freeze=['*']"], "--set:1:13: every parameter is frozen: there is nothing to train"),
    "frozen without parameters": (["train.freeze=[relu1]"], "--set:1:13: 'relu1' names no parameter"),
    "a start that is not there": (["train.init_from=nosuch"], "nosuch: no such run directory or checkpoint"),
    "a start that is none": (["train.init_from=mini.yaml"], "mini.yaml: damaged or not a checkpoint"),
    "a name too long": (["name=" + 129 * "n"], "--set:1:12: 'name' cannot be"),
}
TAKEN = {
    "as it is": [],
    "grey": ["inputs.image.shape=[8, 8, 1]"],
    "crop": ["data.crop=8"],
    "whole batch": ["train.batch=48"],
    "no validation": ["data.source.val_images=0"],
    "ten views": ["data.views=10"],
    "frozen and averaged": ["train.freeze=[fc1]", "train.ema={decay: 0.9}"],
    "a schedule by hand": ["train.schedule={type: hand, steps: [{epoch: 0, rate: 0.5, freeze: ['*.bias']}]}"],
    "a start to be named": ["train.init_from={layers: {fc1: new}}"],
    "more outputs than classes": ["layers.fc2.units=5"],
    "largest seed": ["train.seed=9223372036854775807"],
    "longest name": ["name=" + 128 * "n"],
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini.yaml").write_text(MINI)


def options(sets):
    return [word for text in sets for word in ("--set", text)]


@pytest.mark.parametrize(("sets", "message"), REFUSED.values(), ids=REFUSED)
def test_validate_tells_what_run_refuses(sets, message):
    said = netspec("validate", "mini.yaml", *options(sets))
    assert said.code == 1 and message.partition(" (")[0] in said.err
    ran = netspec("run", "mini.yaml", *options(sets))
    assert ran.code == 1 and ran.err == said.err


@pytest.mark.parametrize("sets", TAKEN.values(), ids=TAKEN)
def test_run_takes_what_validate_does(sets):
    assert netspec("validate", "mini.yaml", *options(sets)).code == 0
    ran = netspec("run", "mini.yaml", *options(sets), "--iterations", 1, "--devices", "cpu")
    assert ran.code == 0, ran.err


def test_everything_wrong_is_told_at_once_in_the_order_of_its_place():
    sets = ["data.crop=4", "data.source.classes=4", "layers.fc1.units=8", "train.batch=49"]
    with pytest.raises(SpecError) as caught:
        check(loads(MINI, "mini.yaml", sets))
    assert [problem.mark.line for problem in caught.value.problems] == [1, 2, 4]


def test_a_source_that_nobody_wrote_is_no_fault_of_the_spec():
    text = MINI.replace("source: {type: generated, classes: 3, images: 48, val_images: 16}, ", "")
    (remark,) = check(loads(text, "mini.yaml"))
    assert remark == "without --data: the data has 1,000 classes, but the network has 3 outputs"


def test_a_network_without_an_image_and_a_label_has_no_inputs_to_train_on():
    text = "netspec: 1\ndevices: [a]\ninputs: {x: {shape: [5]}}\nlayers: [{name: r, type: relu, inputs: x}]"
    with pytest.raises(NetspecError, match=r"<string>:3:1: training takes an image .*; there are: x \[5\] float32"):
        inputs_read(loads(text))
