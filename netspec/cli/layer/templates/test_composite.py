"""Tests of my_layer.py: the layers that it becomes, and netspec's contract suite."""

from pathlib import Path

import netspec
from netspec.check import run

PLUGIN = Path(__file__).with_name("my_layer.py")
SPEC = """
netspec: 1
inputs: {image: {shape: [8, 8, 3]}, label: {dtype: int32}}
layers:
  - {name: first, type: conv, filters: 4, size: 3, pad: 1, init: {type: he}}
  - {name: stage1, type: my_layer, filters: 4}
  - {name: scores, type: dense, units: 3, init: {type: he}}
  - {name: loss, type: softmax_loss, inputs: [scores, label]}
"""


def test_layers(tmp_path):
    (tmp_path / "net.yaml").write_text(SPEC)
    spec = netspec.load(tmp_path / "net.yaml", plugins=[PLUGIN])
    names = [layer.name for layer in spec.layers]
    assert names[1:6] == ["stage1-conv1", "stage1-relu1", "stage1-conv2", "stage1-relu2", "stage1-sum"]
    assert [one.source for one in spec.layer("stage1-sum").inputs] == ["stage1-relu2", "first"]


def test_contract():
    assert not [result for result in run("composites.my_layer") if result.status == "failed"]
