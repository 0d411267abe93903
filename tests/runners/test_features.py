"""Features are what the network's next layer reads, of both devices in order, from Python and in files."""

import json
from pathlib import Path

import numpy as np
import pytest
from data_samples import encoded, picture, write_folder
from training_runs import SPEC

from netspec import evaluate, features, load
from netspec.api import run
from netspec.errors import NetspecError
from netspec.events import Note
from netspec.planning import build
from netspec.runners.features import cut_off, last_hidden, named_layer, write_features
from netspec.runners.streaming import Asked
from netspec.runners.trained import Trained, find_checkpoint
from netspec.runners.training import checkpoint
from netspec.runners.training.checkpoint import Checkpoint

CPU = {"devices": "cpu:0,cpu:1", "workers": 0}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.yaml").write_text(SPEC)
    return run(folder / "tiny.yaml", out=folder, devices="cpu:0,cpu:1", epochs=2).folder


def network(spec) -> Trained:
    """A network of which nothing but the spec is looked at."""
    return Trained(Path("runs/network"), Checkpoint(None, {}), spec)


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("options", [{}, {"devices": "cpu:0,cpu:0"}, {"runner": "serial"}, {"batch": 5}])
def test_the_last_layer_makes_the_probabilities_of_them(trained, options):
    found = features(trained, **{**CPU, **options})
    assert (found.layer, found.values.shape, found.values.dtype) == ("drop1", (13, 4, 4, 8), np.float32)
    tensors = find_checkpoint(trained)[0].tensors
    scores = np.tensordot(found.values.astype(np.float64), tensors["fc.weight"], 3) + tensors["fc.bias"]
    done = evaluate(trained, probabilities=True, **CPU)
    assert np.allclose(softmax(scores), done.results.probabilities, rtol=1e-5, atol=1e-7)
    assert (found.names, found.classes) == (done.results.names, done.classes)
    assert np.array_equal(found.labels, done.results.label) and np.array_equal(found.index, done.results.index)


def test_any_layer_can_be_read(trained):
    conv, relu = (features(trained, layer=name, **CPU).values for name in ("conv1", "relu1"))
    assert conv.shape == (13, 8, 8, 8) and (conv < 0).any()
    assert np.array_equal(np.maximum(conv, 0), relu)
    scores = features(trained, layer="fc", **CPU).values
    done = evaluate(trained, probabilities=True, **CPU)
    assert np.allclose(softmax(scores.astype(np.float64)), done.results.probabilities, rtol=1e-5)
    assert np.array_equal(features(trained, layer="loss", **CPU).values, done.results.probabilities)


def test_a_layer_before_which_a_device_has_nothing_to_do(tmp_path):
    text = SPEC.replace("name: conv1, type: conv, device: [left, right]", "name: conv1, type: conv, device: left")
    text = text.replace("name: fc, type: dense, device: left", "name: fc, type: dense, device: right")
    (tmp_path / "tiny.yaml").write_text(text)
    made = run(tmp_path / "tiny.yaml", out=tmp_path, devices="cpu:0,cpu:1", epochs=1).folder
    assert features(made, layer="pool1", **CPU).values.shape == (13, 4, 4, 8)


@pytest.mark.parametrize("spec", ["alexnet", "alexnet-2012", "alexnet-one-device"])
def test_of_alexnet_it_is_4096_numbers(spec):
    alexnet = load(spec)
    cut = cut_off(alexnet, last_hidden(network(alexnet)))
    plan = build(cut, "predict", 2)
    assert plan.buffers[plan.answer].shape[:1] == (2,) and np.prod(plan.buffers[plan.answer].shape) == 2 * 4096
    assert "fc8" not in {layer.name for layer in cut.layers}


FLAT = """
netspec: 1
devices: [main]
inputs: {image: {shape: [8, 8, 3]}, label: {dtype: int32}}
layers:
  - {name: scores, type: dense, inputs: image, units: 3}
  - {name: loss, type: softmax_loss, inputs: [scores, label]}
"""


def test_a_network_need_not_have_a_hidden_layer(tmp_path):
    (tmp_path / "flat.yaml").write_text(FLAT)
    with pytest.raises(NetspecError, match="'scores' reads the image itself: there is no hidden layer; name the layer"):
        last_hidden(network(load(tmp_path / "flat.yaml")))
    with pytest.raises(NetspecError, match=r"the network has no layer 'score' \(did you mean 'scores'\?\)"):
        named_layer(network(load(tmp_path / "flat.yaml")), "score")


def test_features_that_are_not_finite_are_an_error_with_image_and_layer(trained, tmp_path):
    found = find_checkpoint(trained)[0]
    huge = {**found.tensors, "conv1.weight": np.full_like(found.tensors["conv1.weight"], 3e38)}
    path = tmp_path / "huge.safetensors"
    checkpoint.write(path, Checkpoint(found.record, huge))
    with pytest.raises(NetspecError) as caught:
        features(path, **CPU)
    assert str(caught.value).startswith(f"{path}: val/")
    assert "its features are not finite; the first numbers that are not finite come from" in str(caught.value)


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_files_hold_what_python_gives(trained, tmp_path, ending):
    classes = find_checkpoint(trained)[0].record.classes
    pictures = {f"{classes[i % 3]}/{i}.png": encoded(picture(i), "PNG") for i in range(9)}
    data = write_folder(tmp_path / "images", pictures | {f"{classes[0]}/broken.png": b""})
    heard: list = []
    asked = Asked(binding=_binding(), data=data, batch=4, workers=0)
    done = write_features(trained, tmp_path / f"f.{ending}", None, asked, heard.append)
    assert (done.layer, done.images, done.shape) == ("drop1", 9, (4, 4, 8))
    assert any(isinstance(event, Note) and event.text.endswith("broken.png: an empty file") for event in heard)
    expected = features(trained, data=data, batch=4, **CPU)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [f"f.{ending}"]
    if ending == "npz":
        with np.load(tmp_path / "f.npz") as file:
            assert np.array_equal(file["features"], expected.values) and np.array_equal(file["index"], expected.index)
            assert file["names"].tolist() == list(expected.names) and file["classes"].tolist() == list(classes)
            assert np.array_equal(file["labels"], expected.labels) and str(file["layer"]) == "drop1"
        return
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(tmp_path / "f.parquet")
    rows = np.array(table["features"].to_pylist(), np.float32)
    assert np.array_equal(rows, expected.values.reshape(9, -1))
    assert table["image"].to_pylist() == list(expected.names)
    assert table["label"].to_pylist() == [classes[label] for label in expected.labels]
    about = json.loads(table.schema.metadata[b"netspec"])
    assert (about["layer"], about["shape"], about["classes"]) == ("drop1", [4, 4, 8], list(classes))


def test_what_fails_leaves_no_file(trained, tmp_path):
    for ending in ("npz", "parquet"):
        with pytest.raises(NetspecError, match="no such folder or archive"):
            write_features(trained, tmp_path / f"f.{ending}", None, Asked(_binding(), data=tmp_path / "gone"), None)
    write_folder(tmp_path / "images", {f"{name}/1.png": b"" for name in find_checkpoint(trained)[0].record.classes})
    for ending in ("npz", "parquet"):
        asked = Asked(_binding(), data=tmp_path / "images", workers=0)
        with pytest.raises(NetspecError, match="none of the 3 images"):
            write_features(trained, tmp_path / f"f.{ending}", None, asked, None)
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def _binding():
    from netspec._types import Binding

    return Binding("cpu:0,cpu:1")
