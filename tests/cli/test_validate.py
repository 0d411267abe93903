"""``netspec validate``: exit codes, every problem with its line, JSON."""

import json

import pytest
from cli_tools import MINI, ROOT, netspec

BAD = MINI.replace("units: 8", "unit: 8").replace("batch: 8", "batch: none")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text(MINI)
    (tmp_path / "bad.yaml").write_text(BAD)
    return tmp_path


def test_a_good_spec():
    said = netspec("validate", "good.yaml")
    assert said == (0, "good.yaml: valid, 4 layers on 2 devices\n", "")


def test_all_shipped_specs_hold():
    files = sorted((ROOT / "specs").glob("*.yaml"))
    said = netspec("validate", *files)
    assert said.code == 0
    assert sum(": valid, " in line for line in said.out.splitlines()) == len(files)


def test_a_shipped_spec_by_its_name():
    assert netspec("validate", "alexnet").code == 0


def test_all_problems_of_all_files_are_told_with_line_and_caret():
    said = netspec("validate", "bad.yaml", "good.yaml")
    assert said.code == 1
    assert said.out == "good.yaml: valid, 4 layers on 2 devices\n"
    assert said.err.splitlines() == [
        "bad.yaml:8:68: fc1: unknown key 'unit' (did you mean 'units'?)",
        "    8 |   - {name: fc1, type: dense, device: [left, right], inputs: image, unit: 8, init: {type: he}}",
        "      |                                                                    ^^^^",
        "bad.yaml:12:16: 'train.batch' must be a whole number of at least 1, got 'none'",
        "   12 | train: {batch: none, epochs: 2, sgd: {learning_rate: 0.01}}",
        "      |                ^^^^",
    ]


def test_a_missing_file_is_one_line():
    said = netspec("validate", "gone.yaml")
    assert said.code == 2 and said.out == ""
    assert said.err.startswith("error: gone.yaml: no such file")
    assert said.err.count("\n") == 1


def test_a_missing_file_does_not_hide_the_others():
    said = netspec("validate", "gone.yaml", "bad.yaml", "good.yaml")
    assert said.code == 2
    assert "gone.yaml: no such file" in said.err and "bad.yaml:8:" in said.err and "good.yaml: valid" in said.out


def test_no_file_is_wrong_usage():
    said = netspec("validate")
    assert said.code == 2 and "'FILE...'" in said.err


def test_json_has_places_messages_and_remedies():
    said = netspec("validate", "good.yaml", "bad.yaml", "gone.yaml", "--json")
    good, bad, gone = json.loads(said.out)
    assert said.code == 2
    assert good == {"file": "good.yaml", "valid": True, "problems": [], "notes": []}
    assert not bad["valid"] and not gone["valid"]
    assert {"file", "line", "column", "message", "remedy"} == set(bad["problems"][0])
    assert any(problem["line"] == 12 for problem in bad["problems"])
    assert gone["problems"][0]["message"].startswith("gone.yaml: no such file")


def test_a_plan_that_cannot_be_made_is_a_problem_of_the_spec(folder):
    (folder / "odd.yaml").write_text(MINI.replace("units: 8", "units: 7"))
    said = netspec("validate", "odd.yaml")
    assert said.code == 1
    assert said.err.startswith("odd.yaml:8:68: fc1: units is 7, which cannot be split evenly over 2 devices\n")


def test_set_and_batch_take_part():
    assert netspec("validate", "good.yaml", "--set", "layers.fc1.units=6", "--batch", 4).code == 0
    said = netspec("validate", "good.yaml", "--set", "layers.fc1.units=7")
    assert said.code == 1
    said = netspec("validate", "good.yaml", "--set", "nonsense")
    assert said.code == 1 and "not of the form PATH=VALUE" in said.err
