"""What tells runs apart: values that were asked for, tags and notes."""

import json
import os
import re
from pathlib import Path

import pytest
from cli_tools import MINI, netspec
from metric_runs import write_run
from terminals import at_width

from netspec.api import run
from netspec.errors import NetspecError

BINDING = ("--devices", "cpu:0,cpu:1", "--workers", 0)
FIRST, SECOND = "runs/mini/2026-01-30_12-00-00", "runs/mini/2026-01-31_12-00-00"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path, seed, speed in ((FIRST, 1, 1), (SECOND, 2, 2)):
        write_run(tmp_path / path, 0.01, speed, seed=seed)
        asked(path, seed)
    return tmp_path


def asked(path, seed, **train):
    """A run's record of its start: what it was given, and with what it was started."""
    common = {"layers": [{"name": "fc1", "units": 8}], "data": {"source": {"type": "generated"}}}
    given = {"batch": 8, "iterations": None, "seed": 0}
    specs = {"given": {**common, "train": given}, "spec": {**common, "train": {**given, "seed": seed, **train}}}
    start = {"seed": seed, **specs}
    Path(path, "start.json").write_text(json.dumps(start))
    return start


def listed(*args):
    return json.loads(netspec("runs", *args, "--json").out)


def test_a_tag_and_a_note_are_kept_and_shown():
    said = netspec("tag", FIRST, "paper", "half-rate", "paper", "--note", "the one  in\ntable 2")
    assert said == (0, f"{FIRST}: paper, half-rate; the one in table 2\n", "")
    assert json.loads(Path(FIRST, "tags.json").read_text()) == {
        "tags": ["paper", "half-rate"],
        "note": "the one in table 2",
    }
    assert [one["tags"] for one in listed()] == [[], ["paper", "half-rate"]]
    assert [one["note"] for one in listed()] == ["", "the one in table 2"]
    row = next(line for line in netspec("runs").out.splitlines() if line.startswith(f" {FIRST}"))
    assert "paper, half-rate" in row and "the one in table 2" in row
    assert [one["folder"] for one in listed("--tag", "paper", "--tag", "half-rate")] == [FIRST]
    assert netspec("runs", "--tag", "none").out == "no runs tagged none in runs\n"


def test_tags_are_taken_away_and_asked_for():
    netspec("tag", FIRST, "a", "b", "--note", "n")
    assert netspec("tag", FIRST, "--remove", "a", "--note", "").out == f"{FIRST}: b\n"
    assert json.loads(netspec("tag", FIRST, "--json").out) == {"run": FIRST, "tags": ["b"], "note": ""}
    assert netspec("tag", SECOND).out == f"{SECOND}: no tags\n" and not Path(SECOND, "tags.json").exists()


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["a b"], "'a b' cannot be a tag: a tag is a word of at most 64 letters, digits and .+:=/@_-"),
        (["x" * 65], "cannot be a tag"),
        (["\x1b[31m"], "'\\x1b[31m' cannot be a tag"),
        ([f"t{n}" for n in range(33)], "33 tags: a run has at most 32"),
        (["--note", "x" * 1001], "a note of 1,001 characters: it has at most 1,000"),
        (["--note", "a\x1b[31m"], "a note cannot have control characters"),
    ],
)
def test_what_cannot_be_a_tag_or_a_note_changes_nothing(args, reason):
    said = netspec("tag", FIRST, *args)
    assert said.code == 1 and said.err.startswith("error: ") and reason in said.err
    assert not Path(FIRST, "tags.json").exists()


@pytest.mark.parametrize("text", ["[]", "{", '{"tags": "a"}', '{"tags": [1]}', '{"tags": ["a b"]}', '{"note": 3}'])
def test_a_damaged_file_of_tags_is_told_and_the_run_listed(text):
    Path(FIRST, "tags.json").write_text(text)
    said = netspec("runs")
    assert said.code == 0 and f"warning: {FIRST}/tags.json: " in said.err and FIRST in said.out
    assert netspec("tag", FIRST, "x").code == 1 and Path(FIRST, "tags.json").read_text() == text


def test_a_link_in_its_place_is_not_followed(folder):
    (folder / "mine").write_text("{}")
    os.symlink(folder / "mine", folder / FIRST / "tags.json")
    assert netspec("tag", FIRST, "x").code == 1 and (folder / "mine").read_text() == "{}"


def test_a_tag_needs_a_run(folder):
    (folder / "empty").mkdir()
    for name in ("none", "empty"):
        assert netspec("tag", name, "x") == (2, "", f"error: {name}: no such run (netspec runs lists them)\n")


def test_runs_say_what_was_asked_for():
    asked(FIRST, 1, iterations=5, schedule={"type": "step", "at": [2]})
    rows = netspec("runs").out
    assert "seed 2 " in rows and 'seed 1, iterations 5, schedule.at [2], schedule step' in rows
    first = listed()[1]
    assert first["seed"] == 1
    assert first["changed"] == {"train.iterations": 5, "train.schedule.at": [2], "train.schedule.type": "step"}
    asked(FIRST, 1, freeze=[], metrics=[{"type": "top5"}])
    assert "seed 1, freeze [], metrics top5 " in netspec("runs").out


def test_what_another_solver_brings_along_is_not_told():
    asked(FIRST, 1, solver={"type": "adamw", "learning_rate": 0.001, "beta1": 0.8, "beta2": 0.999, "epsilon": 1e-8})
    assert "seed 1, beta1 0.8, solver adamw " in netspec("runs").out
    assert listed()[1]["changed"]["train.solver.beta2"] == 0.999


def test_one_seed_is_not_told():
    asked(FIRST, 2)
    assert "seed" not in netspec("runs").out and listed()[1]["seed"] == 2


def test_images_are_called_by_their_folder():
    start = asked(FIRST, 1)
    start["spec"]["data"] = {"source": {"type": "folder", "path": "/sets/imagenette", "train": None}}
    Path(FIRST, "start.json").write_text(json.dumps(start))
    assert "seed 1, data imagenette" in netspec("runs").out


@pytest.mark.parametrize("text", ["{}", "[]", '{"spec": 3, "given": []}', '{"spec": {"layers": [1]}, "given": {}}'])
def test_a_damaged_start_is_told_and_the_run_listed(text):
    Path(FIRST, "start.json").write_text(text)
    said = netspec("runs")
    assert said.code == 0 and f"{FIRST}/start.json: " in said.err and FIRST in said.out


def test_a_run_has_tags_from_its_beginning_and_a_resumption_keeps_them(folder):
    (folder / "mini.yaml").write_text(MINI)
    made = ("run", "mini.yaml", "--out", "new", *BINDING, "--iterations", 2)
    assert netspec(*made, "--tag", "paper", "--note", "as it was", "--seed", 4).code == 0
    path = listed("--out", "new")[0]["folder"]
    assert netspec("run", "--resume", path, "--iterations", 3, "--tag", "longer", *BINDING).code == 0
    found = listed("--out", "new")[0]
    assert (found["tags"], found["note"], found["seed"]) == (["paper", "longer"], "as it was", 4)
    assert found["changed"] == {"train.iterations": 3}
    assert re.search(r"iterations: 3 +# --set train.iterations=3", netspec("show", path, "--resolved").out)


def test_a_wrong_tag_is_told_before_anything_is_trained(folder):
    (folder / "mini.yaml").write_text(MINI)
    assert "cannot be a tag" in netspec("run", "mini.yaml", "--out", "new", "--tag", "a b", *BINDING).err
    with pytest.raises(NetspecError, match="cannot be a tag"):
        run("mini.yaml", out="new", tags=["a b"])
    assert not Path("new").exists()


def test_a_sweep_tags_its_runs_also_those_that_are_done(folder):
    (folder / "mini.yaml").write_text(MINI)
    made = ("sweep", "mini.yaml", "--seeds", "0..1", "--iterations", 2, "--out", "new", *BINDING)
    assert netspec(*made).code == 0
    assert netspec(*made, "--tag", "seeds").code == 0
    assert [(one["seed"], one["tags"]) for one in listed("--out", "new")] == [(1, ["seeds"]), (0, ["seeds"])]


@pytest.mark.parametrize("columns", [60, 80])
def test_the_list_fits_a_terminal_and_still_tells_runs_apart(columns):
    lines = at_width(columns, "runs").splitlines()
    assert any("seed 1" in line for line in lines) and any("seed 2" in line for line in lines)
    assert max(map(len, lines)) <= columns
