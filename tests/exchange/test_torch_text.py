"""Modules for PyTorch as text, and state dicts as files: what can be said of them without PyTorch."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from cli_tools import MINI, netspec
from exchange_nets import SPECS, drawn
from nets import TWO_TOWERS, network
from random_nets import write
from safetensors import safe_open
from safetensors.numpy import load_file

import netspec as ns
from netspec.contract.layer import Layer
from netspec.errors import LayerError, NetspecError
from netspec.exchange.state_dict import _assembled
from netspec.exchange.torch_code import RESERVED, identifier
from netspec.exchange.torch_module import TorchForm
from netspec.spec import load, loads


def test_alexnet_is_written_as_a_reader_would_like() -> None:
    text = TorchForm(load("alexnet")).source("AlexNet.", "net.safetensors", [])
    compile(text, "net.py", "exec")
    lines = [line.strip() for line in text.splitlines()]
    for line in (
        "self.conv1 = nn.Conv2d(3, 96, 11, stride=4)",
        "x = self.conv1(F.pad(x, (0, 3, 0, 3)))",
        "self.norm1 = nn.LocalResponseNorm(5, alpha=0.0005, beta=0.75, k=2.0)",
        "x = torch.cat([self.norm1(part) for part in x.chunk(2, 1)], 1)",
        "self.pool1 = nn.MaxPool2d(3, 2)",
        "self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)",
        "self.conv3 = nn.Conv2d(256, 384, 3, padding=1)",
        "self.drop6 = PaperDropout(0.5)",
        "self.fc6 = nn.Linear(9216, 4096)",
        "return self.fc8(x)",
        "return self(image).softmax(-1)",
    ):
        assert line in lines, line
    assert len(lines) < 90
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("name", sorted(path.stem for path in SPECS.glob("*.yaml")))
def test_every_shipped_spec_has_a_form(name: str) -> None:
    compile(TorchForm(load(name)).source(name, "net.safetensors", []), "net.py", "exec")


@pytest.mark.parametrize("seed", range(8))
def test_the_way_there_and_back_is_exact_over_two_devices_and_one(seed: int) -> None:
    for text in write(seed):
        form = TorchForm(loads(text, "random.yaml"))
        plan = ns.plan(form.spec, "predict", batch=2)
        stored = [plan.buffers[key].logical for key in plan.keys("parameter", "state", "constant")]
        arrays = drawn({str(one.key): one.shape for one in stored if one is not None}, seed)
        there = {name: one.there(arrays[one.source]) for name, one in form.tensors.items()}
        assert {name: array.shape for name, array in there.items()} == {n: o.shape for n, o in form.tensors.items()}
        back = _assembled(form.tensors, there)
        for name, array in back.items():
            np.testing.assert_array_equal(array, arrays[name])
        assert back.keys() <= arrays.keys() and back


def test_the_command_writes_a_state_dict_and_the_module_beside_it(tmp_path: Path) -> None:
    (tmp_path / "mini.yaml").write_text(MINI)
    run = ns.run(tmp_path / "mini.yaml", out=tmp_path / "runs", devices="cpu:0,cpu:1").folder
    said = netspec("export", run, "--format", "torch", "-o", tmp_path / "my-net.safetensors", "--json")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert told["module"] == str(tmp_path / "my_net.py")
    assert 'with_name("my-net.safetensors")' in Path(told["module"]).read_text()
    there, here = load_file(told["file"]), load_file(told["checkpoint"])
    np.testing.assert_array_equal(there["fc1.weight"][:, 64:128], here["fc1.weight"][..., 1, :].reshape(64, 8).T)
    np.testing.assert_array_equal(there["image_mean"], here["image.mean"].transpose(2, 0, 1))
    with safe_open(told["file"], "np") as file:
        about = file.metadata()
    assert about["format"] == "pt" and len(json.loads(about["classes"])) == 3
    assert netspec("export", run, "-o", tmp_path / "my-net.safetensors").code == 0
    (tmp_path / "mine.py").write_text("x = 1\n")
    said = netspec("export", run, "-o", tmp_path / "mine.safetensors")
    assert said.code == 1 and "not written by export" in said.err
    assert not (tmp_path / "mine.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--format", "torch", "-o", "net.onnx"), r"must end in \.safetensors"),
        (("--format", "onnx", "-o", "net.safetensors"), r"must end in \.onnx"),
        (("--format", "keras", "-o", "net.onnx"), "'keras' is not one of"),
    ],
)
def test_a_format_and_an_ending_that_differ_are_told(tmp_path: Path, words: tuple[str, ...], reason: str) -> None:
    said = netspec("export", tmp_path, *words)
    assert said.code in (1, 2)
    assert re.search(reason, said.err), said.err


def test_a_layer_without_a_form_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = network(TWO_TOWERS)
    from netspec.registry import layer_types

    monkeypatch.setattr(layer_types()["relu"], "torch", Layer.torch)
    with pytest.raises(NetspecError, match=r"relu1: a layer of type 'relu' has no form in PyTorch"):
        TorchForm(spec)
    assert issubclass(LayerError, NetspecError)


def test_names_of_layers_become_names_that_a_module_may_have() -> None:
    assert identifier("conv-1") == "conv_1"
    assert identifier("_in") == "layer_in"
    assert identifier("train") == "train_" and "train" in RESERVED
    assert identifier("lambda") == "lambda_"
    text = TWO_TOWERS.replace("conv1", "a-b").replace("conv2", "a_b")
    assert {"a_b.weight", "a_b_2.weight"} <= TorchForm(network(text)).tensors.keys()
