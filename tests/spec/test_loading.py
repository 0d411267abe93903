"""Loading good specs: what is inherited, filled in and resolved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from spec_layers import TYPES
from spec_texts import NET

from netspec.contract.attrs import number
from netspec.contract.layer import Layer
from netspec.errors import NetspecError, SpecError
from netspec.registry.kinds import layers as registry
from netspec.spec import canonical, from_canonical, load, loads, render, resolved, schema
from netspec.spec.types import Connection, Multiplier, Spec

ONE = "{netspec: 1, inputs: {x: {}}, "


@pytest.fixture(autouse=True)
def fake_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the tests independent of the built-in layers."""
    monkeypatch.setattr(registry, "_types", dict(TYPES))
    monkeypatch.setattr(registry, "_files", ())


@pytest.fixture
def net() -> Spec:
    return loads(NET, "net.yaml")


def told(text: str, *overrides: str) -> str:
    """The problems of a spec, one a line."""
    with pytest.raises(SpecError) as caught:
        loads(text, "net.yaml", overrides)
    return str(caught.value)


def extending(folder: Path, text: str) -> Spec:
    """Load a spec that extends NET."""
    (folder / "net.yaml").write_text(NET)
    (folder / "mine.yaml").write_text("netspec: 1\nextends: net.yaml\n" + text)
    return load(folder / "mine.yaml")


def names(spec: Spec) -> list[str]:
    return [layer.name for layer in spec.layers]


def test_defaults_fill_in_and_initialisers_merge(net: Spec) -> None:
    conv1, conv2 = net.layer("conv1"), net.layer("conv2")
    assert conv1.attrs["rounding"] == "ceil" and conv1.attrs["stride"] == 1
    assert conv1.attrs["init"] == {"type": "gaussian", "std": 1e-4, "mean": 0.0}
    assert conv2.attrs["init"] == {"type": "gaussian", "std": 0.02, "mean": 0.0}
    assert conv2.attrs["size"] == (3, 5)
    assert net.layer("fc").attrs["init"] == {"type": "xavier"}


def test_multipliers(net: Spec) -> None:
    conv2 = net.layer("conv2")
    assert conv2.multiplier_of("weight") == Multiplier(rate=1.0, decay=3.0)
    assert conv2.multiplier_of("bias") == Multiplier(rate=2.0, decay=0.0)


def test_the_layer_above_and_its_devices(net: Spec) -> None:
    relu = net.layer("relu1")
    assert relu.inputs == (Connection("conv1", None, "same", relu.mark),)
    assert relu.devices == ("left", "right")
    assert net.layer("loss").devices == ("left",)
    assert net.layer("conv2").inputs[0].connect == "all"


def test_one_device_needs_no_words() -> None:
    spec = loads(
        "netspec: 1\ninputs: {image: {shape: [8, 8, 3]}}\nlayers: [{name: a, type: relu}, {name: b, type: relu}]"
    )
    assert spec.devices == spec.layers[1].devices == ("main",)
    assert spec.layers[0].inputs[0].source == "image"


def test_outputs_by_name_are_read(net: Spec) -> None:
    spec = loads(NET + "", overrides=["layers.again={type: relu, inputs: loss.probs}"])
    assert spec.layer("again").inputs[0].output == "probs"


def test_marks_point_at_values(net: Spec) -> None:
    mark = net.layer("conv1").mark_of("filters")
    assert (mark.file, mark.line, mark.column) == ("net.yaml", 10, 69)
    assert net.layer("conv2").mark_of("init.std").line == 8
    assert net.marks["train.solver.learning_rate"].line == 18


def test_extends_merges_removes_and_places(tmp_path: Path) -> None:
    spec = extending(
        tmp_path,
        """\
layers:
  - {name: relu1, remove: true}
  - {name: conv1, filters: 32}
  - {name: new1, type: relu, after: conv1}
  - {name: new2, type: relu, after: conv1}
  - {name: last, type: relu, inputs: loss.probs}
  - {name: fc, device: right}
train: {epochs: 3}
""",
    )
    assert names(spec) == ["conv1", "new1", "new2", "pool1", "conv2", "fc", "loss", "last"]
    assert spec.layer("conv1").attrs["filters"] == 32 and spec.layer("conv1").attrs["size"] == 5
    assert spec.layer("pool1").inputs[0].source == "new2"
    assert spec.layer("loss").devices == ("right",)
    assert (spec.train.epochs, spec.train.batch) == (3, 64)
    assert spec.name == "mine"
    assert Path(spec.layer("conv1").mark_of("filters").file).name == "mine.yaml"


def test_extends_a_changed_type_drops_what_was_the_old_ones(tmp_path: Path) -> None:
    spec = extending(
        tmp_path, "layers:\n  - {name: conv2, type: dense, units: 5}\ntrain: {schedule: {type: constant}}\n"
    )
    assert set(spec.layer("conv2").attrs) == {"units", "init"}
    assert spec.layer("conv2").inputs[0].connect == "all"
    assert spec.layer("conv2").multiplier.decay == 3.0


def test_extends_in_chains_and_moves_layers(tmp_path: Path) -> None:
    extending(tmp_path, "layers: [{name: relu1, after: pool1}]\n")
    (tmp_path / "third.yaml").write_text("netspec: 1\nextends: mine.yaml\nlayers: [{name: pool1, size: 2}]\n")
    spec = load(tmp_path / "third.yaml")
    assert names(spec)[:3] == ["conv1", "pool1", "relu1"]
    assert spec.layer("relu1").inputs[0].source == "pool1"
    assert spec.layer("pool1").attrs["size"] == 2


def test_extends_a_layer_may_be_removed_and_written_anew(tmp_path: Path) -> None:
    spec = extending(
        tmp_path,
        "layers:\n  - {name: relu1, remove: true}\n  - {name: relu1, type: relu, after: pool1, inputs: pool1}\n",
    )
    assert names(spec)[:3] == ["conv1", "pool1", "relu1"]


def test_extends_one_change_a_layer(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="conv1: the name 'conv1' is taken"):
        extending(tmp_path, "layers: [{name: conv1, filters: 8}, {name: conv1, size: 3}]\n")


def test_extends_circle(tmp_path: Path) -> None:
    for one, other in ("ab", "ba"):
        (tmp_path / f"{one}.yaml").write_text(f"netspec: 1\nextends: {other}.yaml\n")
    with pytest.raises(SpecError, match=r"b\.yaml:2:10: cannot extend: 'a\.yaml' leads back to .*a\.yaml"):
        load(tmp_path / "a.yaml")


def test_extends_who_reads_a_removed_layer(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"mine\.yaml:3:21: removing 'fc' leaves 'loss' without it"):
        extending(tmp_path, "layers: [{name: fc, remove: true}]\n")


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("train.solver.learning_rate=2e-2", ("train", "solver", "learning_rate"), 0.02),
        ("train.iterations=12", ("train", "iterations"), 12),
        ("train.schedule={type: exp, factor: 10}", ("train", "schedule"), {"type": "exp", "factor": 10.0}),
        ("data.source.images=7", ("data", "source", "images"), 7),
        ("inputs.image.shape=[8, 8, 1]", ("inputs", "image", "shape"), [8, 8, 1]),
        ("name=no", ("name",), "no"),
    ],
)
def test_set(assignment: str, path: tuple[str, ...], value: Any) -> None:
    data: Any = canonical(loads(NET, overrides=[assignment]))
    for key in path:
        data = data[key]
    assert data == value


def test_set_reaches_layers_and_defaults() -> None:
    spec = loads(
        NET,
        overrides="layers.conv1.filters=64 defaults.conv.bias_init=1 layers.relu1.remove=true train.batch=2".split(),
    )
    assert spec.layer("conv1").attrs["filters"] == 64
    assert spec.layer("conv2").attrs["bias_init"] == 1.0
    assert "relu1" not in names(spec)
    assert spec.train.batch == 2


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (
            "train.solver.learning_rat=1",
            "--set:1:20: unknown key 'learning_rat' in 'train.solver' (did you mean 'learning_rate'?)",
        ),
        ("trian.batch=1", "--set:1:7: unknown key 'trian' (did you mean 'train'?)"),
        ("layers.conv3.filters=1", "--set:1:14: there is no layer 'conv3' to change (did you mean 'conv2'?)"),
        ("layers.conv1.filter=1", "--set:1:20: conv1: unknown key 'filter' (did you mean 'filters'?)"),
        ("layers.conv1.filters=no", "--set:1:28: conv1: 'filters' must be a whole number of at least 1, got 'no'"),
        ("layers.conv1=5", "--set:1:20: 'layers.conv1' must be a map (as in layers.conv1.filters=64)"),
        ("train.batch=", "--set:1:18: 'train.batch' must be a whole number of at least 1, got nothing"),
        ("train.batch", "--set:1:7: not of the form PATH=VALUE (as in train.solver.learning_rate=0.02)"),
        ("train..batch=1", "--set:1:13: a path has names between its dots (as in layers.conv1.filters)"),
        ("=1", "--set:1:7: not of the form PATH=VALUE (as in train.solver.learning_rate=0.02)"),
        ("extends=a.yaml", "--set:1:7: 'extends' cannot be set (write a spec that extends the other)"),
        ("netspec=2", "--set:1:7: 'netspec' cannot be set (it is the version of the spec's language)"),
        ("train.batch.size=1", "--set:1:19: 'train.batch' must be a whole number of at least 1, got a map"),
        ("train.batch=[1", "--set:1:19: a list in brackets is not closed here (opened at line 1) (add ']' or a ',')"),
    ],
)
def test_set_points_at_what_is_wrong(assignment: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        loads(NET, overrides=[assignment])
    (problem,) = caught.value.problems
    assert f"{problem.mark}: {problem.message}" + (f" ({problem.remedy})" if problem.remedy else "") == message
    assert str(caught.value).startswith(f"in '{assignment}': ")  # from Python no --set was typed


def test_set_shows_the_segment() -> None:
    with pytest.raises(SpecError) as caught:
        loads(NET, overrides=["train.batch=8", "train.bach=8"])
    assert render(caught.value).splitlines()[1:] == ["    2 | --set train.bach=8", "      |             ^^^^"]


def test_resolved_loads_again_and_names_origins(net: Spec) -> None:
    text = resolved(net)
    assert loads(text) == net
    assert loads(resolved(loads(text))) == net
    lines = {line.split("#")[0].strip(): line.partition("# ")[2] for line in text.splitlines()}
    assert lines["filters: 16"] == "net.yaml:13"
    assert lines["learning_rate: 0.02"] == "net.yaml:18"
    assert lines["momentum: 0.9"] == "default"
    assert lines["std: 0.0001"] == "net.yaml:10"
    assert lines["inputs: conv1"] == "the layer above"


def test_resolved_and_canonical_hold_after_extends_and_set(tmp_path: Path) -> None:
    extending(tmp_path, "layers: [{name: relu1, remove: true}]\n")
    spec = load(tmp_path / "mine.yaml", ["train.batch=8"])
    assert "# --set train.batch=8" in resolved(spec)
    assert loads(resolved(spec)) == spec
    assert from_canonical(json.loads(json.dumps(canonical(spec)))) == spec


def test_canonical_of_something_else() -> None:
    with pytest.raises(SpecError, match="the key 'netspec' is missing"):
        from_canonical({"name": "net"})
    with pytest.raises(SpecError, match="nested deeper"):
        deep: Any = []
        for _ in range(500):
            deep = [deep]
        from_canonical({"netspec": 1, "layers": deep})


def test_schema_is_a_schema_and_takes_good_specs() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    validator.check_schema(validator.schema)
    data = yaml.safe_load(NET)
    assert list(validator.iter_errors(data)) == []
    data["layers"][0]["pading"] = 3
    assert not validator.is_valid(data)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("{netspec: 1, extends: net.yaml, layers: [{name: conv1, filters: 3}]}", True),
        ("{netspec: 1, extends: net.yaml, layers: [{name: conv1, type: pool, filters: 3}]}", False),
        (ONE + "layers: [{name: conv1, filters: 3}]}", False),
        (ONE + "layers: [{name: conv1, type: conv, filters: 3}]}", False),
        (
            "{netspec: 1, inputs: {x: {}}, defaults: {conv: {size: 3}}, layers: [{name: a, type: conv, filters: 3}]}",
            True,
        ),
        (ONE + "layers: [{name: a, type: relu, inputs: [x, {from: x, connect: all}]}]}", True),
        (ONE + "layers: [{name: a, type: relu}], data: {source: nowhere}}", False),
        (
            "{netspec: 1, inputs: {x: {}}, layers: [{name: a, type: relu}], train: {schedule: {type: exp, at: [1]}}}",
            False,
        ),
    ],
)
def test_schema_judges(text: str, good: bool) -> None:
    assert jsonschema.Draft202012Validator(schema()).is_valid(yaml.safe_load(text)) is good


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "alexnet-mine.yaml").write_text(NET)
    with pytest.raises(NetspecError, match=r"no such file .did you mean 'alexnet-mine.yaml'"):
        load(tmp_path / "alexnt-mine.yaml")
    with pytest.raises(NetspecError, match="is a directory, not a file"):
        load(tmp_path)


def test_an_attribute_may_not_hide_a_key_of_every_layer() -> None:
    with pytest.raises(TypeError, match="Clash declares the attribute 'rate', a key that every layer has"):
        type("Clash", (Layer,), {"attrs": {"rate": number()}})


def test_a_layer_changes_the_initialiser_that_it_has_from_defaults(tmp_path: Path) -> None:
    other = extending(tmp_path, "layers: [{name: conv2, init: {type: constant, value: 1}}]\n")
    assert other.layer("conv2").attrs["init"] == {"type": "constant", "value": 1.0}  # without the std written for it
    same = extending(tmp_path, "layers: [{name: conv2, init: {type: gaussian, mean: 1}}]\n")
    assert same.layer("conv2").attrs["init"] == {"type": "gaussian", "std": 0.02, "mean": 1.0}
