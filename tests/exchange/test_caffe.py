"""``netspec import`` of Caffe's files, written here byte by byte, against Caffe's arithmetic in float64."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caffe_arithmetic import convolved, pooled, softmax
from caffe_files import binaryproto, caffemodel, field, varint
from cli_tools import netspec
from safetensors.numpy import load_file

import netspec as ns
from netspec.spec import load, loads

pytest.importorskip("google.protobuf", reason="protobuf is not installed")

NET = """\
name: "Small Net"
# layer { in a comment }
layer {
  name: "data" type: "Input" top: "data"
  input_param { shape: { dim: 10 dim: 3 dim: 13 dim: 13 } }
}
layer {
  name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  param { lr_mult: 1 decay_mult: 1 }
  convolution_param { num_output: 4 kernel_size: 3 stride: 1 pad: 1 weight_filler { type: "gaussian" std: 0.01 } }
}
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer {
  name: "norm1" type: "LRN" bottom: "conv1" top: "norm1"
  lrn_param { local_size: 3 alpha: 0.6 beta: 0.75 }
}
layer {
  name: "pool1" type: "Pooling" bottom: "norm1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 1 }
}
layer {
  name: "conv2/3x3" type: "Convolution" bottom: "pool1" top: "conv2"
  convolution_param { num_output: 6 kernel_h: 3 kernel_w: 3 group: 2 bias_term: false }
}
layer {
  name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2"
  pooling_param { pool: AVE kernel_size: 2 stride: 2 }
}
layer { name: "fc3" type: "InnerProduct" bottom: "pool2" top: "fc3" inner_product_param { num_output: 8 } }
layer { name: "relu3" type: "ReLU" bottom: "fc3" top: "fc3" }
layer { name: "drop3" type: "Dropout" bottom: "fc3" top: "fc3" dropout_param { dropout_ratio: 0.3 } }
layer { name: "fc4" type: "InnerProduct" bottom: "fc3" top: "fc4" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc4" top: "prob" }
"""
SHAPES = {
    "conv1": [(4, 3, 3, 3), (4,)],
    "conv2/3x3": [(6, 2, 3, 3)],
    "fc3": [(8, 6 * 3 * 3), (8,)],
    "fc4": [(5, 8), (5,)],
}
WORDS = ("net.prototxt", "--weights", "net.caffemodel", "-o", "out.safetensors")
Blobs = Mapping[str, list[Any]]


def weights() -> Blobs:
    chance = np.random.default_rng(0)
    made = {}
    for name, shapes in SHAPES.items():
        spread = 0.02 if name == "conv1" else 1 / np.sqrt(np.prod(shapes[0][1:]))
        made[name] = [chance.normal(0, spread, shape).astype(np.float32) for shape in shapes]
    return made


MEAN = np.random.default_rng(5).uniform(90, 150, (3, 16, 15)).astype(np.float32)
"""BGR, and larger than the input: Caffe takes its centre."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    Path("net.caffemodel").write_bytes(caffemodel(weights()))
    Path("mean.binaryproto").write_bytes(binaryproto(MEAN))
    return tmp_path


def predicted(blobs: Blobs, images: Any, mean: Any) -> Any:
    """The network of NET as Caffe computes it, of RGB images (N, H, W, C)."""
    t = {name: [one.astype(np.float64) for one in found] for name, found in blobs.items()}
    x = images[..., ::-1].transpose(0, 3, 1, 2) - mean.astype(np.float64)
    x = np.maximum(convolved(x, t["conv1"][0], 1) + t["conv1"][1][:, None, None], 0)
    squares = np.pad(x**2, ((0, 0), (1, 1), (0, 0), (0, 0)))
    x = x / (1 + 0.6 / 3 * sum(squares[:, i : i + 4] for i in range(3))) ** 0.75
    x = pooled(x, 3, 2, 1, np.max)
    x = pooled(convolved(x, t["conv2/3x3"][0], 0), 2, 2, 0, np.mean)
    x = np.maximum(x.reshape(len(x), -1) @ t["fc3"][0].T + t["fc3"][1], 0)
    return softmax(x @ t["fc4"][0].T + t["fc4"][1])


def check(mean: Any) -> None:
    """The checkpoint predicts what Caffe does."""
    images = np.random.default_rng(1).integers(0, 256, (6, 13, 13, 3), np.uint8)
    wanted = predicted(weights(), images, mean)
    for row, seen in zip(wanted, ns.predict("out.safetensors", list(images)), strict=True):
        np.testing.assert_allclose([dict(seen.top)[str(i)] for i in range(5)], row, rtol=0, atol=1e-5)
    assert np.ptp(wanted) > 0.01


@pytest.fixture
def unresized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are as large as the input: written so that resizing has nothing to do."""
    import netspec.exchange.caffe_net as net

    monkeypatch.setattr(net, "SHORT_SIDE", 0)


@pytest.mark.parametrize(("old", "double"), [(False, False), (True, False), (False, True)])
@pytest.mark.usefixtures("unresized")
def test_a_network_predicts_as_in_caffe(place: Path, old: bool, double: bool) -> None:
    Path("net.caffemodel").write_bytes(caffemodel(weights(), old, double))
    said = netspec("import", *WORDS, "--mean-image", "mean.binaryproto")
    assert said.code == 0, said.err
    assert "conv2-3x3.weight <- conv2/3x3[0]" in said.out
    check(MEAN[:, 1:14, 1:14])


@pytest.mark.usefixtures("unresized")
def test_a_mean_of_channels_is_one_of_rgb(place: Path) -> None:
    assert netspec("import", *WORDS, "--mean", "120,110,100").code == 0
    check(np.array([100, 110, 120])[:, None, None])


def test_the_spec_is_one_to_read_and_to_train(place: Path) -> None:
    said = netspec("import", *WORDS, "--mean", "120")
    assert "spec in out.yaml" in said.out
    text = Path("out.yaml").read_text()
    row = "  - {name: norm1, type: lrn, size: 3, alpha: 0.6, beta: 0.75, k: 1.0, scaling: window}"
    assert row in text.splitlines()
    assert "  - {name: drop3, type: dropout, keep: 0.7, mode: inverted}" in text.splitlines()
    assert [one.source for one in load("out.yaml").layer("norm1").inputs] == ["relu1"]
    assert load("out.yaml").layer("pool1").attrs["rounding"] == "ceil"
    assert load("out.yaml").name == "Small-Net"
    assert netspec("validate", "out.yaml").code == 0


BLOCKS = """\
name: "blocks"
layer { name: "data" type: "Input" top: "data" input_param { shape: { dim: 1 dim: 3 dim: 13 dim: 13 } } }
layer {
  name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 4 kernel_size: 2 pad: 1 dilation: 3 bias_term: false }
}
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" batch_norm_param { eps: 0.01 } }
layer { name: "scale1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
layer { name: "prelu1" type: "PReLU" bottom: "conv1" top: "conv1" }
layer { name: "leaky1" type: "ReLU" bottom: "conv1" top: "leaky" relu_param { negative_slope: 0.2 } }
layer { name: "elu1" type: "ELU" bottom: "conv1" top: "elu" elu_param { alpha: 0.5 } }
layer { name: "clip1" type: "Clip" bottom: "elu" top: "elu" clip_param { min: -0.25 max: 3 } }
layer { name: "prod" type: "Eltwise" bottom: "leaky" bottom: "elu" top: "prod" eltwise_param { operation: PROD } }
layer { name: "mix" type: "Eltwise" bottom: "prod" bottom: "leaky" top: "mix" eltwise_param { coeff: 0.5 coeff: -2 } }
layer {
  name: "up" type: "Deconvolution" bottom: "mix" top: "up"
  convolution_param { num_output: 6 kernel_size: 2 stride: 2 group: 2 }
}
layer {
  name: "pool1" type: "Pooling" bottom: "up" top: "pool1" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }
}
layer { name: "share" type: "Softmax" bottom: "pool1" top: "share" }
layer { name: "gate" type: "Eltwise" bottom: "share" bottom: "pool1" top: "gate" eltwise_param { operation: PROD } }
layer { name: "pool2" type: "Pooling" bottom: "gate" top: "pool2" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool2" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


@pytest.mark.usefixtures("unresized")
def test_blocks_of_later_networks_predict_as_in_caffe(place: Path) -> None:
    """Caffe's average counts padding, not what hangs over it; BatchNorm's blobs are sums, the third their weight."""
    chance = np.random.default_rng(3)
    t = {
        "conv1": [chance.normal(0, 0.02, (4, 3, 2, 2))],
        "bn1": [3 * chance.normal(0, 1, 4), 3 * chance.uniform(0.5, 4, 4), np.array([3.0])],
        "scale1": [chance.normal(0, 2, 4), chance.normal(0, 1, 4)],
        "prelu1": [chance.normal(0, 1, 4)],
        "up": [chance.normal(0, 1, (4, 3, 2, 2)), chance.normal(0, 1, 6)],
        "fc": [chance.normal(0, 0.1, (5, 6)), chance.normal(0, 1, 5)],
    }
    Path("net.prototxt").write_text(BLOCKS)
    Path("net.caffemodel").write_bytes(caffemodel({name: [one.astype("f4") for one in t[name]] for name in t}))
    said = netspec("import", *WORDS, "--mean", "120")
    assert said.code == 0, said.err
    images = np.random.default_rng(1).integers(0, 256, (4, 13, 13, 3), np.uint8)
    images //= np.arange(1, 5, dtype=np.uint8)[:, None, None, None]
    wide = np.zeros((4, 3, 4, 4))
    wide[:, :, ::3, ::3] = t["conv1"][0]
    x = convolved(images[..., ::-1].transpose(0, 3, 1, 2) - 120.0, wide, 1)

    def by_channel(one: Any) -> Any:
        return one[:, None, None]

    mean, variance = (by_channel(one / 3) for one in t["bn1"][:2])
    x = (x - mean) / np.sqrt(variance + 0.01) * by_channel(t["scale1"][0]) + by_channel(t["scale1"][1])
    x = np.where(x > 0, x, x * by_channel(t["prelu1"][0]))
    leaky, elu = np.where(x > 0, x, 0.2 * x), np.where(x > 0, x, 0.5 * np.expm1(np.minimum(x, 0)))
    elu = np.clip(elu, -0.25, 3)
    x = 0.5 * leaky * elu - 2 * leaky
    parts = [np.einsum("nchw,cfij->nfhiwj", x[:, g : g + 2], t["up"][0][g : g + 2]) for g in (0, 2)]
    x = np.concatenate(parts, 1).reshape(4, 6, 2 * x.shape[2], -1) + by_channel(t["up"][1])
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    x = pooled(padded, 3, 2, 0, np.mean)
    x = (softmax(x) * x).mean((2, 3))
    wanted = softmax(x @ t["fc"][0].T + t["fc"][1])
    for row, seen in zip(wanted, ns.predict("out.safetensors", list(images)), strict=True):
        np.testing.assert_allclose([dict(seen.top)[str(i)] for i in range(5)], row, rtol=0, atol=1e-5)
    assert np.ptp(wanted, axis=0).max() > 0.01


def test_a_scale_of_the_image_cannot_be_turned(place: Path) -> None:
    scale = 'layer { name: "scale0" type: "Scale" bottom: "data" top: "data" }\nlayer {\n  name: "conv1"'
    Path("net.prototxt").write_text(NET.replace('layer {\n  name: "conv1"', scale))
    Path("net.caffemodel").write_bytes(caffemodel({**weights(), "scale0": [np.ones(3)]}))
    refused("'scale0' reads BGR images")


def bvlc_alexnet() -> str:
    """The network of Caffe's model zoo, as its deploy.prototxt has it but for what training alone reads."""
    rows, below = ['name: "AlexNet"', 'layer { name: "data" type: "Input" top: "data"'], "data"
    rows.append("  input_param { shape: { dim: 10 dim: 3 dim: 227 dim: 227 } } }")

    def add(name: str, kind: str, rest: str = "", inplace: bool = False) -> None:
        nonlocal below
        top = below if inplace else name
        rows.append(f'layer {{ name: "{name}" type: "{kind}" bottom: "{below}" top: "{top}" {rest} }}')
        below = top

    def conv(number: int, rest: str, norm: bool = False, pool: bool = False) -> None:
        add(f"conv{number}", "Convolution", f"convolution_param {{ {rest} }}")
        add(f"relu{number}", "ReLU", inplace=True)
        if norm:
            add(f"norm{number}", "LRN", "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")
        if pool:
            add(f"pool{number}", "Pooling", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }")

    conv(1, "num_output: 96 kernel_size: 11 stride: 4", True, True)
    conv(2, "num_output: 256 pad: 2 kernel_size: 5 group: 2", True, True)
    conv(3, "num_output: 384 pad: 1 kernel_size: 3")
    conv(4, "num_output: 384 pad: 1 kernel_size: 3 group: 2")
    conv(5, "num_output: 256 pad: 1 kernel_size: 3 group: 2", pool=True)
    for number, units in ((6, 4096), (7, 4096), (8, 1000)):
        add(f"fc{number}", "InnerProduct", f"inner_product_param {{ num_output: {units} }}")
        if number < 8:
            add(f"relu{number}", "ReLU", inplace=True)
            add(f"drop{number}", "Dropout", "dropout_param { dropout_ratio: 0.5 }", inplace=True)
    add("prob", "Softmax")
    return "\n".join(rows)


def test_the_network_of_the_model_zoo_is_alexnet(tmp_path: Path) -> None:
    """As many parameters as the paper's, layer by layer; 227 pixels give conv1 its 55 without hanging over."""
    from netspec.exchange.caffe_net import net_of
    from netspec.exchange.caffe_schema import read_prototxt

    (tmp_path / "deploy.prototxt").write_text(bvlc_alexnet())
    made = loads(net_of(tmp_path / "deploy.prototxt", *read_prototxt(tmp_path / "deploy.prototxt")).text)

    def shapes(spec: Any) -> dict[str, tuple[int, ...]]:
        plan = ns.plan(spec, "predict", batch=1)
        stored = [plan.buffers[key].logical for key in plan.keys("parameter")]
        return {str(one.key): one.shape for one in stored if one is not None}

    assert shapes(made) == shapes(load("alexnet-one-device"))
    assert sum(int(np.prod(shape)) for shape in shapes(made).values()) == 60_965_224


def test_a_spec_that_is_there_is_not_written_over(place: Path) -> None:
    Path("out.yaml").write_text("name: mine\n")
    said = netspec("import", *WORDS, "--mean", "0")
    assert "out.yaml: is there already, and another spec" in said.err
    assert Path("out.yaml").read_text() == "name: mine\n" and not Path("out.safetensors").exists()
    Path("out.yaml").unlink()
    for _ in range(2):
        assert netspec("import", *WORDS, "--mean", "0").code == 0


OLD_INPUT = 'input: "data" input_dim: 10 input_dim: 3 input_dim: 13 input_dim: 13'
NEW_INPUT = 'input: "data" input_shape { dim: 10 dim: 3 dim: 13 dim: 13 }'


@pytest.mark.parametrize("words", [OLD_INPUT, NEW_INPUT])
def test_inputs_are_read_as_older_files_say_them(place: Path, words: str) -> None:
    head, _, tail = NET.partition("layer {\n  name: \"data\"")
    Path("net.prototxt").write_text(head + words + tail[tail.index("\n}") + 2 :])
    assert netspec("import", *WORDS, "--mean", "0").code == 0
    assert load("out.yaml").inputs["data"].shape == (13, 13, 3)


def refused(reason: str, *words: str) -> None:
    """The command ends with the reason, and writes nothing."""
    said = netspec("import", *(words or (*WORDS, "--mean", "0")))
    assert said.code in (1, 2), said
    assert re.search(reason, said.err), said.err
    assert "Traceback" not in said.err
    assert not Path("out.safetensors").exists() and not Path("out.yaml").exists()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('type: "LRN"', 'type: "MVN"', r"net\.prototxt:13: layer 'norm1' \(MVN\): there is no such layer"),
        ('type: "LRN"', 'type: "BatchNorm"', "'norm1' has no mean; 'norm1' has no variance"),
        ('type: "LRN"', 'type: "Scale" scale_param { axis: 0 }', "axes other than the channels'"),
        ('type: "LRN"', 'type: "PReLU" prelu_param { channel_shared: true }', "one slope for all channels"),
        ('type: "LRN"', 'type: "Eltwise" eltwise_param { operation: MAX }', "other than SUM and PROD"),
        ('type: "LRN"', 'type: "Eltwise" eltwise_param { operation: PROD }', "1 blobs to read"),
        ("pool: MAX kernel_size: 3", "pool: STOCHASTIC kernel_size: 3", "stochastic"),
        ("group: 2", "group: 2 dilation: 2 dilation: 2 dilation: 2", r":21: layer 'conv2/3x3' .*dilation of 3 axes"),
        ('bottom: "norm1"', 'bottom: "norm9"', "it reads 'norm9', which no layer above it gives"),
        ("dim: 10 dim: 3", "dim: 10 dim: 4", r"an input of shape \[10, 4, 13, 13\]"),
        ('type: "Input"', 'type: "Data"', r"net\.prototxt:3: layer 'data' \(Data\)"),
        ('"ReLU" bottom: "conv1"', '"ReLU" relu_param { negative_slope: -0.1 } bottom: "conv1"', "negative_slope"),
        ("num_output: 8", "num_output: 9", r"weight of 'fc3' is \[8, 54\], fc3\.weight \[3, 3, 6, 9\]"),
        ("bias_term: false", "", "'conv2/3x3' has no bias"),
        ("layer {\n  name: \"norm1\"", "layer {{\n  name: \"norm1\"", r"net\.prototxt:13:"),
        ("kernel_h: 3", "kernel_h: 99999999", "of 99999999"),
        ('bottom: "fc4"', "", "layer 'prob' .*0 blobs to read"),
        ('type: "Convolution" bottom: "data"', 'type: "Convolution" bottom: "data" bottom: "data"', "2 blobs to read"),
        (NET, "", "there is no 'layer' in it"),
        (NET, 'layers { name: "a" }', "upgrade_net_proto_text"),
        (NET, "a { " * 20000, "net.prototxt:"),
        (NET, "\0\1", "net.prototxt:"),
    ],
)
def test_what_there_is_not_here_is_named_with_its_line(place: Path, old: str, new: str, reason: str) -> None:
    Path("net.prototxt").write_text(NET.replace(old, new))
    refused(reason)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no weights there"),
        (b"\xff" * 40, "damaged, or no file of Caffe's"),
        (caffemodel(weights())[:-9], "damaged, or no file of Caffe's: it is cut off"),
        (field(100, b"") * 1_000_001, "more than 1,000,000 fields"),
        (field(100, field(7, b"") * 1_000_001), "more than 1,000,000 fields"),
        (field(100, field(1, "conv1") + field(7, field(7, field(1, b"\1" * 2**20 + b"\1")))), "'dim' takes"),
        (field(100, field(1, "conv1") + field(7, field(7, field(1, varint(2**40) * 2)))), "0 bytes of numbers"),
        (field(100, field(1, "conv1") + field(7, field(5, b"123"))), "3 bytes of numbers are no blob of"),
        (b"\x0b" * 9, "of no type that Caffe has"),
    ],
)
def test_weights_that_are_none_are_refused(place: Path, data: bytes, reason: str) -> None:
    Path("net.caffemodel").write_bytes(data)
    refused(reason)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("net.prototxt", "-o", "out.safetensors"), "--weights names the .caffemodel"),
        ((*WORDS, "--spec", "quickstart"), "a network of Caffe takes no --spec"),
        (WORDS, "nothing there says how 'data' was normalised"),
        ((*WORDS, "--mean-image", "gone"), "gone: no such file"),
        ((*WORDS, "--mean-image", "net.prototxt"), "damaged, or no file of Caffe's"),
        ((*WORDS, "--mean-image", "small.binaryproto"), "is no mean image for 13 x 13 pixels"),
    ],
)
def test_what_is_asked_wrongly_is_told(place: Path, words: tuple[str, ...], reason: str) -> None:
    Path("small.binaryproto").write_bytes(binaryproto(np.zeros((3, 12, 20))))
    refused(reason, *words)


def test_weights_of_an_image_that_no_layer_can_turn_are_refused(place: Path) -> None:
    relu = 'layer { name: "relu0" type: "ReLU" bottom: "data" top: "data" }\nlayer {\n  name: "conv1"'
    Path("net.prototxt").write_text(NET.replace('layer {\n  name: "conv1"', relu))
    refused("'relu0' reads BGR images")


def test_what_the_network_does_not_have_is_left(place: Path) -> None:
    Path("net.caffemodel").write_bytes(caffemodel({**weights(), "aux": [np.zeros(3)]}))
    said = netspec("import", *WORDS, "--mean", "0")
    assert "left: aux[0]" in said.out
    first = load_file("out.safetensors")["conv1.weight"]
    np.testing.assert_array_equal(first[:, :, ::-1], weights()["conv1"][0].transpose(2, 3, 1, 0))
