"""What commands print with --json holds to the schemas that netspec schema --of gives, real outputs of each."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from cli_tools import MINI, json_commands, netspec
from jsonschema import Draft202012Validator, ValidationError
from PIL import Image

from netspec.cli._output_schemas import names
from netspec.rundir.metrics import SCHEMA

_AHEAD = ["info", "mini.yaml", "--set", "replicas=2", "--processes", "2", "--device", "h100"]
COMMANDS = {
    "validate": [["validate", "mini.yaml", "gone.yaml", "typo.yaml"]],
    "info": [["info", "mini.yaml"], ["info", "alexnet", "--phase", "predict"], _AHEAD],
    "show": [["show", "mini.yaml"]],
    "graph": [["graph", "mini.yaml"]],
    "plan": [["plan", "mini.yaml", *more] for more in ([], ["--devices", "cpu"], ["--devices", "0/cpu:0,1/cpu:0"])],
    "sweep": [["sweep", "mini.yaml", "--seeds", "0..1", "--iterations", "1", "--out", "swept"]],
    "eval": [["eval", "RUN"], ["eval", "RUN", "OTHER", "--confusion"]],
    "predict": [["predict", "RUN", "images/val/a/0.png", "gone.png"]],
    "table": [["table", "RUN"]],
    "export": [["export", "RUN", "-o", "net.onnx"], ["export", "RUN", "-o", "net.safetensors"]],
    "import": [["import", "net.safetensors", "--spec", "mini.yaml", "-o", "imported.safetensors"]],
    "estimate": [["estimate", "mini.yaml", "--seconds", "1"], ["estimate", "mini.yaml", "--device", "h100"]],
    "features": [["features", "RUN", "--out", "features.npz"]],
    "runs": [["runs"]],
    "specs": [["specs"]],
    "tag": [["tag", "RUN", "tried"]],
    "compare": [["compare", "RUN", "OTHER"]],
    "curves": [["curves", "RUN", "OTHER"]],
    "figure": [["figure", "curves", "RUN"]],
    "devices": [["devices"]],
    "cache": [["cache"], ["cache", "clear", "--yes"]],
    "doctor": [["doctor"], ["doctor", "--report", "RUN"]],
    "layers": [["layers"]],
    "layers show": [["layers", "show", "conv"]],
    "layers check": [["layers", "check", "relu", "--backend", "cpu"]],
    "layers try": [["layers", "try", "gelu", "--input", "2x3"]],
    "layers bench": [["layers", "bench", "relu", "--input", "8x8", "--backend", "cpu"]],
    "tune": [["tune", "mini.yaml"], ["tune", "mini.yaml", "--forget"]],
    "lr-find": [["lr-find", "mini.yaml", "--iterations", "20"]],
    "data prepare": [["data", "prepare", "images", "prepared", "--size", "8"]],
    "data stats": [["data", "stats", "images"]],
}


def schema(name):
    """The schema that the command prints."""
    said = netspec("schema", "--of", name)
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a spec, a wrong one, images of two classes, and two runs."""
    folder = tmp_path_factory.mktemp("outputs")
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3)):
        for name in "ab":
            (folder / "images" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 255, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "images" / split / name / f"{number}.png")
    (folder / "mini.yaml").write_text(MINI)
    (folder / "typo.yaml").write_text(MINI.replace("type: relu", "type: relo"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for seed in (0, 1):
            assert netspec("run", "mini.yaml", "--iterations", "7", "--set", f"train.seed={seed}").code == 0
    return folder


@pytest.fixture
def runs(place, monkeypatch):
    """The two runs; the working folder is theirs, and the cache nobody else's."""
    monkeypatch.chdir(place)
    return sorted(Path("runs", "mini").iterdir())


@pytest.mark.parametrize("name", COMMANDS)
def test_outputs_hold_to_their_schema(name, runs, tmp_path, monkeypatch):
    if name in ("cache", "tune"):
        monkeypatch.setenv("NETSPEC_CACHE_DIR", str(tmp_path))
    if name == "export":
        pytest.importorskip("onnx")
    for words in COMMANDS[name]:
        said = netspec(*(dict(RUN=runs[0], OTHER=runs[1]).get(word, word) for word in words), "--json")
        assert said.out, said.err
        schema(name).validate(json.loads(said.out))


def test_every_output_has_a_schema_and_each_schema_is_tried():
    found = {"figure" if words[0] == "figure" else " ".join(words) for words in json_commands()}
    assert found == set(COMMANDS) == {*names()} - {"metrics", "error"}


def test_lines_of_metrics_hold_to_their_schema(runs):
    check, seen = schema("metrics"), set()
    for line in (runs[0] / "metrics.jsonl").read_text().splitlines():
        check.validate(json.loads(line))
        seen.add(json.loads(line)["event"])
        if json.loads(line)["event"] == "start":
            assert json.loads(line)["schema"] == SCHEMA
    assert seen == {"start", "iteration", "evaluation", "checkpoint", "note", "finish"}
    assert check.schema["$id"] == f"urn:netspec:output:metrics:{SCHEMA}"


@pytest.mark.parametrize("words", [["info", "typo.yaml"], ["info", "gone.yaml"], ["info"]])
def test_errors_hold_to_their_schema(words, runs):
    said = netspec(*words, "--json")
    assert said.code and not said.out
    schema("error").validate(json.loads(said.err))


@pytest.mark.parametrize(
    ("name", "words", "change"),
    [
        ("info", ["info", "mini.yaml"], lambda data: data["rows"][0].pop("bytes")),
        ("info", ["info", "mini.yaml"], lambda data: data["rows"][0].update(share=1.5)),
        ("runs", ["runs"], lambda data: data[0].update(status="gone")),
        ("plan", ["plan", "mini.yaml"], lambda data: data["steps"][0].update(flops="many")),
    ],
)
def test_what_is_not_as_it_says_is_found(name, words, change, runs):
    data = json.loads(netspec(*words, "--json").out)
    check, wrong = schema(name), copy.deepcopy(data)
    change(wrong)
    check.validate(data)
    with pytest.raises(ValidationError):
        check.validate(wrong)


def test_an_unknown_name_is_guessed():
    assert "known: error, metrics, validate" in netspec("schema", "--of", "nothing").err
    said = netspec("schema", "--of", "metric")
    assert (said.code, said.err) == (1, "error: no output 'metric' (did you mean 'metrics'?)\n")
