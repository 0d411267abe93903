"""Blocks: a net written with them is the same net as written out."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml
from training_runs import final, same, train

from netspec.cli._set_paths import layers_at
from netspec.errors import SpecError
from netspec.planning import build, to_plain
from netspec.rundir.differences import differences
from netspec.spec import block_scope, canonical, from_canonical, load, loads, render, resolved, schema
from netspec.spec.types import Spec

HEAD = """\
netspec: 1
name: net
devices: [left, right]
inputs:
  image: {shape: [8, 8, 3]}
  label: {dtype: int32}
defaults: {conv: {size: 3, pad: 1, init: {type: he}}}
"""
TAIL = """\
  - {name: fc, type: dense, device: left, inputs: {from: relu3, connect: all}, units: 3, init: {type: he}}
  - {name: loss, type: softmax_loss, inputs: [fc, label]}
train: {batch: 8, iterations: 3, seed: 5}
data: {source: {type: generated, classes: 3, images: 44, val_images: 13}, scale: 0.01, workers: 0}
"""
BLOCKS = """\
blocks:
  residual:
    attributes: {filters: required, act: relu, stride: 1}
    inputs: x
    layers:
      - {name: conv1, type: conv, inputs: {from: x, connect: all}, filters: $filters, stride: $stride}
      - {name: act, type: $act}
      - {name: conv2, type: conv, filters: $filters}
      - {name: short, type: conv, inputs: {from: x, connect: all}, filters: $filters, size: 1, pad: 0, stride: $stride}
      - {name: sum, type: sum, inputs: [conv2, short]}
      - {name: $name, type: relu}
layers:
  - {name: conv0, type: conv, device: [left, right], inputs: image, filters: 8}
  - {name: relu1, type: residual, filters: 8}
  - {name: relu2, type: residual, filters: 16, stride: 2, act: tanh, inputs: relu1}
  - {name: relu3, type: residual, filters: 16, rate: 0.5}
"""
BLOCK_LAYERS = {f"relu{n}{own}" for n in (1, 2, 3) for own in ("-conv1", "-act", "-conv2", "-short", "-sum", "")}


def _long(use: str, source: str, filters: int, stride: int = 1, act: str = "relu", more: str = "") -> str:
    read = f"inputs: {{from: {source}, connect: all}}"
    return f"""\
  - {{name: {use}-conv1, type: conv, {read}, filters: {filters}, stride: {stride}{more}}}
  - {{name: {use}-act, type: {act}{more}}}
  - {{name: {use}-conv2, type: conv, filters: {filters}{more}}}
  - {{name: {use}-short, type: conv, {read}, filters: {filters}, size: 1, pad: 0, stride: {stride}{more}}}
  - {{name: {use}-sum, type: sum, inputs: [{use}-conv2, {use}-short]{more}}}
  - {{name: {use}, type: relu{more}}}
"""


LONG = (
    BLOCKS[BLOCKS.index("layers:\n  - {name: conv0") :].split("  - {name: relu1")[0]
    + _long("relu1", "conv0", 8)
    + _long("relu2", "relu1", 16, 2, "tanh")
    + _long("relu3", "relu2", 16, more=", rate: 0.5")
)


def network(layers: str) -> Spec:
    return loads(HEAD + layers + TAIL, "net.yaml")


def told(layers: str) -> str:
    """What is said of a spec that is wrong."""
    with pytest.raises(SpecError) as caught:
        network(layers)
    return render(caught.value)


def names(spec: Spec) -> list[str]:
    return [layer.name for layer in spec.layers]


def test_a_net_with_blocks_is_the_net_written_out() -> None:
    short, long = network(BLOCKS), network(LONG)
    assert short == long
    plans = [to_plain(build(spec, "train")) for spec in (short, long)]
    frames = [{shard["layer"]: shard.pop("within") for shard in plan["shards"]} for plan in plans]
    assert plans[0] == plans[1]
    assert frames[0] == {name: [name.partition("-")[0]] if name in BLOCK_LAYERS else [] for name in names(short)}
    assert not any(frames[1].values())
    assert loads(resolved(short)) == short
    assert from_canonical(json.loads(json.dumps(canonical(short)))) == short


def test_it_trains_to_the_same_bits(tmp_path) -> None:
    results = []
    for name, layers in (("short", BLOCKS), ("long", LONG)):
        (tmp_path / f"{name}.yaml").write_text(HEAD + layers + TAIL)
        results.append(final(train(tmp_path / f"{name}.yaml")[0]))
    assert same(*results)


def test_a_shared_use_has_the_parameters_of_the_other() -> None:
    shared = BLOCKS.replace("filters: 16, stride: 2, act: tanh", "filters: 8")
    shared = shared.replace("filters: 16, rate: 0.5", "filters: 8, share: relu1")
    spec = network(shared)
    assert spec.layer("relu3-conv1").share == "relu1-conv1"
    assert spec.layer("relu3-act").share is None, "has nothing to share"
    assert spec.layer("relu2-conv1").share is None


def test_blocks_hold_blocks() -> None:
    nested = """\
blocks:
  unit:
    attributes: {filters: required}
    layers:
      - {name: conv, type: conv, filters: $filters}
      - {name: relu, type: relu}
  pair:
    attributes: {filters: required}
    inputs: [x, other]
    output: sum
    layers:
      - {name: a, type: unit, inputs: x, filters: $filters}
      - {name: b, type: unit, filters: $filters}
      - {name: sum, type: sum, inputs: [b, other]}
      - {name: aside, type: pool, mode: max, size: 2}
layers:
  - {name: conv0, type: conv, device: [left, right], inputs: image, filters: 8}
  - {name: two, type: pair, inputs: [conv0, conv0], filters: 8, device: [left, right]}
  - {name: relu3, type: relu}
"""
    spec = network(nested)
    assert names(spec)[1:8] == [
        "two-a-conv", "two-a-relu", "two-b-conv", "two-b-relu", "two-sum", "two-aside", "relu3",
    ]  # fmt: skip
    assert spec.layer("two-b-conv").inputs[0].source == "two-a-relu"
    assert [one.source for one in spec.layer("two-sum").inputs] == ["two-b-relu", "conv0"]
    assert spec.layer("relu3").inputs[0].source == "two-sum", "the block's output, not its last layer"


@pytest.mark.parametrize(
    "layer, names",
    [
        ("{name: relu2, filters: 12, act: relu}", ["relu2-conv1", "relu2-conv2", "relu2-short"]),
        ("{name: relu2-conv1, filters: 12}", ["relu2-conv1"]),
    ],
)
def test_a_later_spec_changes_a_use_or_one_of_its_layers(layer, names, tmp_path) -> None:
    (tmp_path / "base.yaml").write_text(HEAD + BLOCKS + TAIL)
    spec = loads(f"netspec: 1\nextends: base.yaml\nlayers:\n  - {layer}\n", str(tmp_path / "over.yaml"))
    assert [one.name for one in spec.layers if one.attrs.get("filters") == 12] == names


def test_a_later_spec_takes_out_and_puts_in(tmp_path) -> None:
    for name, layers in (("short", BLOCKS), ("long", LONG)):
        (tmp_path / f"{name}.yaml").write_text(HEAD + layers + TAIL)
    change = """\
blocks: {}
layers:
  - {name: relu1-act, remove: true}
  - {name: relu1-norm, type: lrn, after: relu1-conv1}
  - {name: relu2-act, type: relu}
  - {name: relu2-drop, type: dropout, after: relu2}
  - {name: relu1-norm2, type: lrn, after: relu1-norm}
"""
    short, long = (loads(f"netspec: 1\nextends: {name}.yaml\n{change}", str(tmp_path / "over.yaml"))
                   for name in ("short", "long"))  # fmt: skip
    assert not differences(canonical(short), canonical(long))
    without = loads(
        "netspec: 1\nextends: short.yaml\nlayers:\n  - {name: relu2, remove: true}\n  - {name: fc, units: 4}\n"
        "  - {name: relu3, inputs: relu1}\n",
        str(tmp_path / "over.yaml"),
    )
    assert not [name for name in names(without) if name.startswith("relu2")]


def test_changes_reach_blocks_uses_and_layers(tmp_path) -> None:
    file = tmp_path / "net.yaml"
    file.write_text(HEAD + BLOCKS + TAIL)
    spec = load(file, ["layers.relu2.filters=4", "layers.relu1-conv1.size=5", "layers.relu1-conv1.pad=2"])
    assert (spec.layer("relu2-conv2").attrs["filters"], spec.layer("relu1-conv1").attrs["size"]) == (4, 5)
    spec = load(file, ["blocks.residual.attributes.act=tanh", "blocks.residual.layers.short.bias=false"])
    assert (spec.layer("relu3-act").type, spec.layer("relu3-short").attrs["bias"]) == ("tanh", False)
    assert {"relu2-short": "conv", "relu2": "relu"}.items() <= layers_at(["run", str(file)]).items()


def test_values_say_where_they_are_from() -> None:
    parts = [line.partition("#") for line in resolved(network(BLOCKS)).split("\n")]
    lines = {value.strip(): origin.strip() for value, _, origin in parts}
    assert lines["- name: relu2-short"] == "net.yaml:16, used at 22"
    assert lines["filters: 16"] == "net.yaml:23", "the use that said it last"


def test_a_fault_is_told_once_at_its_line_with_the_first_use() -> None:
    text = told(BLOCKS.replace("size: 1, pad: 0", "sise: 1"))
    assert text.startswith("net.yaml:16:") and text.count("unknown key 'sise'") == 1
    assert text.rstrip().endswith("= used at net.yaml:21:12")


def test_a_plan_says_where_the_block_is_used() -> None:
    spec = network(BLOCKS.replace("name: conv2, type: conv, filters: $filters", "name: conv2, type: conv, filters: 8"))
    message = r"net\.yaml:17:9: relu2-sum: inputs must have one shape.*; used at net\.yaml:22:12"
    with pytest.raises(SpecError, match=message):
        build(spec, "train")


def test_editors_know_blocks() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    good = yaml.safe_load(HEAD + BLOCKS + TAIL)
    validator.validate(good)
    good["blocks"]["residual"]["layers"][0]["stride"] = "two"
    assert list(validator.iter_errors(good)), "neither a number nor an attribute"
    del good["blocks"]
    assert [e for e in validator.iter_errors(good) if "residual" in e.message], "no type without blocks"


@pytest.mark.parametrize("times", [30, 60])
def test_blocks_that_multiply_are_refused(times, monkeypatch) -> None:
    monkeypatch.setattr(block_scope, "MAX_NODES", 2_000)
    blocks = "blocks:\n  b0: {layers: [{name: a, type: relu}, {name: b, type: relu}]}\n" + "".join(
        f"  b{n}: {{layers: [{{name: a, type: b{n - 1}}}, {{name: b, type: b{n - 1}}}]}}\n" for n in range(1, times)
    )
    text = told(blocks + f"layers:\n  - {{name: relu3, type: b{times - 1}}}\n")
    assert "more than 2000 values in blocks" in text or "nested deeper than 40 levels" in text
