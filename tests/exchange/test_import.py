"""``netspec import`` of state dicts as a user meets it, without PyTorch: names and layouts as it documents them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_tools import netspec
from PIL import Image
from safetensors.numpy import load_file, save_file

import netspec as ns
from netspec.exchange.state_dict import matched
from netspec.exchange.torch_module import TorchForm
from netspec.spec import load

SMALL = """\
netspec: 1
name: small
devices: [left, right]
inputs:
  image: {shape: [9, 9, 3]}
  label: {dtype: int32}
layers:
  - {name: conv1, type: conv, device: [left, right], inputs: image, filters: 4, size: 3, stride: 2, pad: 1}
  - {name: relu1, type: relu}
  - {name: norm1, type: lrn, alpha: 0.3, k: 1.0}
  - {name: conv2, type: conv, filters: 4, size: 3}
  - {name: fc3, type: dense, device: left, inputs: {from: conv2, connect: all}, units: 5}
  - {name: fc4, type: dense, device: left, units: 5}
  - {name: fc5, type: dense, device: left, units: classes}
  - {name: loss, type: softmax_loss, inputs: [fc5, label]}
train: {batch: 4}
data: {source: {type: generated, classes: 5, images: 40, val_images: 20}, mean: channel, scale: 0.02, workers: 0}
"""
SHAPES = {
    "features.0": ((4, 3, 3, 3), (4,)),
    "features.3": ((4, 2, 3, 3), (4,)),
    "classifier.1": ((5, 36), (5,)),
    "classifier.9": ((5, 5), (5,)),
    "classifier.10": ((5, 5), (5,)),
}
"""Modules of a network in PyTorch, in order: weights and biases."""
MEAN, STD = np.array([120.0, 110.0, 90.0]), np.array([50.0, 60.0, 70.0])
LEVELS = ("--mean", "120,110,90", "--std", "50,60,70")
Arrays = dict[str, Any]


def state() -> Arrays:
    chance = np.random.default_rng(0)
    made = {}
    for name, (weight, bias) in SHAPES.items():
        spread = 1 / np.sqrt(np.prod(weight[1:]))
        made[f"{name}.weight"] = chance.normal(0, spread, weight).astype(np.float32)
        made[f"{name}.bias"] = chance.normal(0, 0.1, bias).astype(np.float32)
    return made


def convolved(x: Any, weight: Any, bias: Any, stride: int = 1, pad: int = 0) -> Any:
    """Cross-correlation of (N, C, H, W) in float64, with as many groups as the weights' depth says."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    groups, size = x.shape[1] // weight.shape[1], weight.shape[-1]
    out = (x.shape[2] - size) // stride + 1
    y = np.zeros((len(x), len(weight), out, out))
    share, depth = len(weight) // groups, weight.shape[1]
    for f in range(len(weight)):
        part = x[:, f // share * depth : (f // share + 1) * depth]
        for i in range(out):
            for j in range(out):
                window = part[:, :, i * stride : i * stride + size, j * stride : j * stride + size]
                y[:, f, i, j] = (window * weight[f]).sum((1, 2, 3)) + bias[f]
    return y


def predicted(tensors: Arrays, images: Any) -> Any:
    """The network of SMALL as PyTorch computes it, in float64; each half of the channels is normalised by itself."""
    t = {name: array.astype(np.float64) for name, array in tensors.items()}
    x = ((images - MEAN) / STD).transpose(0, 3, 1, 2)
    x = np.maximum(convolved(x, t["features.0.weight"], t["features.0.bias"], 2, 1), 0)
    halves = [x[:, :2], x[:, 2:]]
    x = np.concatenate([h / (1 + 0.3 * (h**2).sum(1, keepdims=True)) ** 0.75 for h in halves], 1)
    x = convolved(x, t["features.3.weight"], t["features.3.bias"]).reshape(len(x), -1)
    for name in ("classifier.1", "classifier.9", "classifier.10"):
        x = x @ t[f"{name}.weight"].T + t[f"{name}.bias"]
    x = np.exp(x - x.max(1, keepdims=True))
    return x / x.sum(1, keepdims=True)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)
    save_file(state(), "net.safetensors")
    return tmp_path


def test_a_state_dict_of_pytorch_predicts_as_it_does_there(place: Path) -> None:
    said = netspec("import", "net.safetensors", "--spec", "small.yaml", "-o", "out.safetensors", *LEVELS)
    assert said.code == 0, said.err
    assert "conv2.weight <- features.3.weight" in said.out
    assert "by shape and order: fc4, fc5 <- classifier.9, classifier.10" in said.out
    images = np.random.default_rng(1).integers(0, 256, (6, 9, 9, 3), np.uint8)
    wanted = predicted(state(), images)
    for row, seen in zip(wanted, ns.predict("out.safetensors", list(images)), strict=True):
        np.testing.assert_allclose([dict(seen.top)[str(i)] for i in range(5)], row, rtol=0, atol=1e-5)
    assert np.ptp(wanted) > 0.01


def test_the_checkpoint_is_one_for_all_that_takes_checkpoints(place: Path) -> None:
    Path("names.txt").write_text("ant\nbee\ncat\ndog\neel\n")
    words = ("--spec", "small.yaml", "-o", "out.safetensors", *LEVELS, "--classes", "names.txt")
    assert netspec("import", "net.safetensors", *words).code == 0
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save("x.png")
    assert "bee" in netspec("predict", "out.safetensors", "x.png").out
    assert netspec("show", "out.safetensors").code == 0
    said = netspec("run", "small.yaml", "--init-from", "out.safetensors", "--iterations", "1", "--seed", "3")
    assert said.code == 0, said.err
    assert "taken: conv1 (weight, bias)" in said.err + said.out
    (run,) = Path("runs", "small").iterdir()
    assert netspec("eval", run).code == 0


def test_json_says_what_was_taken_and_left(place: Path) -> None:
    save_file({**state(), "features.1.num_batches_tracked": np.zeros(1)}, "net.safetensors")
    said = netspec("import", "net.safetensors", "--spec", "small.yaml", "-o", "out.safetensors", *LEVELS, "--json")
    told = json.loads(said.out)
    assert told["taken"]["fc3.bias"] == "classifier.1.bias" and len(told["taken"]) == 10
    assert told["left"] == ["features.1.num_batches_tracked"]
    assert told["parameters"] == sum(array.size for array in state().values())


def test_imagenet_stands_for_numbers(place: Path) -> None:
    for name, levels in (
        ("word", ("--mean", "imagenet", "--std", "imagenet")),
        ("numbers", ("--mean", "123.675,116.28,103.53", "--std", "58.395,57.12,57.375")),
    ):
        words = ("--spec", "small.yaml", "-o", f"{name}.safetensors", *levels)
        assert netspec("import", "net.safetensors", *words).code == 0
    one, two = load_file("word.safetensors"), load_file("numbers.safetensors")
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name])


def test_a_map_says_which_is_which(place: Path) -> None:
    Path("names.yaml").write_text("fc4: classifier.10\nfc5.weight: classifier.9.weight\nfc5.bias: classifier.9.bias\n")
    words = ("--spec", "small.yaml", "-o", "out.safetensors", *LEVELS, "--map", "names.yaml")
    assert netspec("import", "net.safetensors", *words).code == 0
    np.testing.assert_array_equal(load_file("out.safetensors")["fc4.weight"], state()["classifier.10.weight"].T)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("fc9: classifier.9", "the network has no 'fc9'"),
        ("fc4: classifier.8", r"fc4\.weight \[5, 5\]: 'classifier\.8\.weight' is not there"),
        ("fc4: classifier.1", r"'classifier\.1\.weight' has the shape \[5, 36\]"),
        ("- fc4", "must be a map of names"),
        ("fc4: [1", "names.yaml:1"),
        ("fc4: 3", "must be a map of names"),
    ],
)
def test_a_map_that_is_wrong_is_told(place: Path, text: str, reason: str) -> None:
    Path("names.yaml").write_text(text)
    words = ("--spec", "small.yaml", "-o", "out.safetensors", *LEVELS, "--map", "names.yaml")
    refused(reason, "net.safetensors", *words)


def refused(reason: str, *words: str) -> None:
    """The command ends with the reason, and writes nothing."""
    import re

    said = netspec("import", *words)
    assert said.code in (1, 2), said
    assert re.search(reason, said.err), said.err
    assert "Traceback" not in said.err
    assert not Path("out.safetensors").exists()


def without(*names: str) -> Arrays:
    return {name: array for name, array in state().items() if name not in names}


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        (without("classifier.1.bias"), r"nothing there for 2 of the network's 1\d tensors\n  fc3\.\w+"),
        (without("classifier.9.bias", "classifier.9.weight"), r"fc4\.weight \[5, 5\]"),
        ({**state(), "features.3.bias": np.full(4, np.nan, np.float32)}, "'conv2.bias' holds NaN or infinities"),
        ({"x": np.zeros(3)}, "there, and not of the network:\n  x"),
    ],
)
def test_what_does_not_fit_is_listed(place: Path, arrays: Mapping[str, Any], reason: str) -> None:
    save_file(dict(arrays), "net.safetensors")
    refused(reason, "net.safetensors", "--spec", "small.yaml", "-o", "out.safetensors", *LEVELS)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("net.safetensors",), "--spec says which network"),
        (("net.safetensors", "--spec", "small.yaml"), "nothing there says how 'image' was normalised"),
        (("net.safetensors", "--spec", "small.yaml", "--mean", "1,2"), "--mean: give one number, or 3"),
        (("net.safetensors", "--spec", "small.yaml", "--std", "0"), "it must be above 0"),
        (("net.safetensors", "--spec", "small.yaml", "--mean", "x"), "neither numbers by commas nor imagenet"),
        (("gone.safetensors", "--spec", "small.yaml"), "no such file"),
        (("small.yaml", "--spec", "small.yaml"), "the name must end in"),
        (("net.safetensors", "--set", "train.batch=2"), "--spec, which is missing"),
        (("net.safetensors", "--spec", "small.yaml", *LEVELS, "--classes", "names.txt"), "two classes are called"),
    ],
)
def test_what_is_asked_wrongly_is_told(place: Path, words: tuple[str, ...], reason: str) -> None:
    Path("names.txt").write_text("a\na\n")
    refused(reason, *words, "-o", "out.safetensors")


def test_a_checkpoint_of_netspec_is_not_taken_for_a_state_dict(place: Path) -> None:
    assert netspec("import", "net.safetensors", "--spec", "small.yaml", "-o", "made.safetensors", *LEVELS).code == 0
    words = ("--spec", "small.yaml", "-o", "out.safetensors")
    refused("is a checkpoint of netspec already", "made.safetensors", *words)


def test_a_pickle_needs_pytorch_and_is_not_opened_without(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    Path("net.pth").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    refused(r"\.pth files need PyTorch", "net.pth", "--spec", "small.yaml", "-o", "out.safetensors")
    assert not Path("ran").exists()


def test_no_std_can_be_made_up_for_where_a_pool_reads_the_image(place: Path) -> None:
    text = SMALL.replace("inputs: image, filters: 4", "inputs: {from: pool0, connect: all}, filters: 4")
    pool = "  - {name: pool0, type: pool, device: left, inputs: image, size: 1, mode: max}\n"
    Path("small.yaml").write_text(text.replace("  - {name: conv1", f"{pool}  - {{name: conv1"))
    refused("'pool0' reads images", "net.safetensors", "--spec", "small.yaml", "-o", "out.safetensors", *LEVELS)


def test_averages_are_filled_where_evaluation_uses_them(place: Path) -> None:
    words = ("--spec", "small.yaml", "--set", "train.ema={}", "-o", "out.safetensors", *LEVELS)
    said = netspec("import", "net.safetensors", *words)
    assert said.code == 0, said.err
    tensors = load_file("out.safetensors")
    np.testing.assert_array_equal(tensors["fc5.weight.average"], tensors["fc5.weight"])


ALEXNET = {
    "features.0": (64, 3, 11, 11),
    "features.3": (192, 64, 5, 5),
    "features.6": (384, 192, 3, 3),
    "features.8": (256, 384, 3, 3),
    "features.10": (256, 256, 3, 3),
    "classifier.1": (4096, 9216),
    "classifier.4": (4096, 4096),
    "classifier.6": (1000, 4096),
}
"""torchvision's alexnet, as its published weights have it."""
WIDTHS = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
VGG16 = {f"features.{i}": (WIDTHS[n + 1], WIDTHS[n], 3, 3) for n, i in enumerate(PLACES)}
VGG16 |= {"classifier.0": (4096, 25088), "classifier.3": (4096, 4096), "classifier.6": (1000, 4096)}


@pytest.mark.parametrize(("spec", "weights"), [("alexnet-torchvision", ALEXNET), ("vgg16", VGG16)])
def test_published_names_and_shapes_find_their_layers(spec: str, weights: Mapping[str, tuple[int, ...]]) -> None:
    shapes = {f"{name}.weight": shape for name, shape in weights.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in weights.items()}
    wanted = TorchForm(load(spec)).tensors
    taken, _ = matched(wanted, dict(sorted(shapes.items())), {})
    layers = [name.removesuffix(".weight") for name in wanted if name.endswith(".weight")]
    assert [taken[f"{layer}.weight"] for layer in layers] == [f"{name}.weight" for name in weights]
    assert len(taken) == len(shapes)
