"""RUN may be a folder of runs, and SPEC a run or a checkpoint: which of them is meant, and what is told of it."""

import json
import re
from pathlib import Path

import pytest
from cli_tools import MINI, netspec
from metric_runs import write_run

FIRST, SECOND = "runs/mini/2026-01-30_12-00-00", "runs/mini/2026-01-31_12-00-00"
BINDING = ("--devices", "cpu:0,cpu:1", "--workers", 0)
NEWEST = f"note: {SECOND}: the newest of 2 runs\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, path in enumerate((FIRST, SECOND)):
        write_run(tmp_path / path, 0.01 * (number + 1), 1 + number)
        metrics = tmp_path / path / "metrics.jsonl"
        metrics.write_text(metrics.read_text().replace('{"time": 17', f'{{"time": {17 + number}'))
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run of two checkpoints, resumed at another batch size."""
    made = tmp_path_factory.mktemp("trained")
    (made / "mini.yaml").write_text(MINI)
    said = netspec("run", made / "mini.yaml", "--out", made / "out", "--set", "layers.fc1.units=4", *BINDING)
    assert said.code == 0, said
    run = next((made / "out" / "mini").iterdir())
    said = netspec("run", "--resume", run, "--batch", 16, "--epochs", 3, *BINDING)
    assert said.code == 0, said
    return run


@pytest.mark.parametrize("place", ["runs", "runs/mini", "runs/"])
def test_a_folder_of_runs_is_all_of_them_for_curves(place):
    said = netspec("curves", place)
    assert said == netspec("curves", FIRST, SECOND) and said.code == 0
    assert said.out.startswith("learning_rate 0.01\n")


def test_a_run_named_twice_is_drawn_once():
    assert netspec("curves", "runs", FIRST) == netspec("curves", "runs")


def test_a_figure_says_which_runs_it_takes(folder):
    assert netspec("figure", "curves", "runs", "--json").out == netspec("figure", "curves", FIRST, SECOND, "--json").out
    assert "A folder of runs stands for all of them" in netspec("figure", "curves", "--help").out
    for kind in ("architecture", "memory", "predictions", "neighbours", "timeline", "confusion"):
        assert "A folder of runs stands for the newest of them." in netspec("figure", kind, "--help").out


def test_compare_takes_the_newest_of_each_or_the_two_newest_of_one(folder):
    said = netspec("compare", "runs/mini")
    assert said.code == 0 and said.out.startswith(f"A  {FIRST}\nB  {SECOND}\n")
    write_run(folder / "runs/other/2026-02-01_12-00-00", 0.03, 3)
    said = netspec("compare", "runs/mini", "runs/other")
    assert said.out.startswith(f"A  {SECOND}\nB  runs/other/2026-02-01_12-00-00\n") and said.err == NEWEST
    said = netspec("compare", FIRST)
    assert said == (1, "", f"error: {FIRST}: name two runs to compare, or a folder that holds two\n")


@pytest.mark.parametrize("args", [[], ["runs/mini"], ["mini"], ["runs"], ["--out", "runs/mini"], ["../elsewhere"]])
def test_runs_understands_names_and_paths(folder, monkeypatch, args):
    if args == ["../elsewhere"]:
        (folder / "runs").rename(folder / "elsewhere")
        (folder / "here").mkdir()
        monkeypatch.chdir(folder / "here")
    found = json.loads(netspec("runs", *args, "--json").out)
    assert [(one["name"], Path(one["folder"]).name) for one in found] == [
        ("mini", Path(SECOND).name),
        ("mini", Path(FIRST).name),
    ]


def test_runs_of_a_run_is_that_run(folder, monkeypatch):
    assert [one["folder"] for one in json.loads(netspec("runs", FIRST, "--json").out)] == [FIRST]
    monkeypatch.chdir(folder / FIRST)
    assert [one["name"] for one in json.loads(netspec("runs", ".", "--json").out)] == ["mini"]


def test_a_name_without_runs_is_guessed_or_others_are_named(folder):
    assert netspec("runs", "minni").out == "no runs of minni in runs (did you mean 'mini'?)\n"
    assert netspec("runs", "zoo").out == "no runs of zoo in runs (there are runs of mini)\n"
    (folder / "empty").mkdir()
    assert netspec("runs", "empty").out == "no runs in empty\n"
    assert netspec("runs", "a\x1b[31m").out.startswith("no runs of a\\x1b[31m in runs")


@pytest.mark.parametrize("command", [("eval",), ("curves",), ("tag",), ("predict", "x.png"), ("report",)])
def test_a_name_of_runs_elsewhere_is_told_with_the_path(command):
    name, *rest = command
    assert netspec(name, "mini", *rest) == (2, "", "error: mini: no such run (did you mean runs/mini?)\n")


def test_networks_are_taken_from_the_newest_run_with_a_checkpoint(trained):
    write_run(trained.parent / "2099-01-01_00-00-00", 0.1, 1)
    later = trained.parent / "2099-01-01_00-00-00" / "metrics.jsonl"
    later.write_text(later.read_text().replace('{"time": 17', '{"time": 39'))
    try:
        said = netspec("eval", trained.parent, *BINDING, "--json")
        assert said.code == 0 and f"note: {trained}: the newest with a checkpoint of 2 runs" in said.err
    finally:
        for file in later.parent.iterdir():
            file.unlink()
        later.parent.rmdir()


@pytest.mark.parametrize("kind", ["run", "folder", "checkpoint"])
def test_a_run_and_a_checkpoint_are_specs_to_look_at(trained, kind, folder):
    checkpoint = max((trained / "checkpoints").iterdir())
    place = {"run": trained, "folder": trained.parent, "checkpoint": checkpoint}[kind]
    info = json.loads(netspec("info", place, "--json").out)
    assert info["batch"] == 16 and info["parameters"] == (8 * 8 * 3 * 4 + 4) + (4 * 3 + 3)
    assert json.loads(netspec("show", place, "--json").out)["train"]["batch"] == 16
    assert json.loads(netspec("plan", place, "--batch", 2, "--json").out)["batch"] == 2
    assert netspec("graph", place, "-o", "net.svg").code == 0 and "<svg" in (folder / "net.svg").read_text()[:200]
    assert netspec("figure", "architecture", place, "--json").code == 0


def test_an_earlier_checkpoint_has_the_spec_of_its_time(trained):
    first = min((trained / "checkpoints").iterdir())
    assert json.loads(netspec("info", first, "--json").out)["batch"] == 8


def test_show_of_a_run_is_its_spec_as_given_and_resolved_with_what_was_changed_since(trained):
    assert netspec("show", trained).out == MINI
    resolved = netspec("show", trained, "--resolved").out
    assert re.search(r"^  batch: 16 +# --set train.batch=16$", resolved, re.MULTILINE)
    assert re.search(r"^    units: 4 ", resolved, re.MULTILINE)
    changed = netspec("show", trained, "--set", "train.seed=7").out
    assert re.search(r"^  seed: 7 +# --set train.seed=7$", changed, re.MULTILINE)
    checkpoint = max((trained / "checkpoints").iterdir())
    assert re.search(r"^  batch: 16 ", netspec("show", checkpoint).out, re.MULTILINE)


def test_show_resolved_of_a_run_has_the_origins_that_it_recorded():
    assert netspec("show", FIRST, "--resolved").out == Path(FIRST, "spec.resolved.yaml").read_text()
    said = netspec("show", FIRST)
    assert said == (1, "", f"error: {FIRST}/spec.yaml: the run has no such file\n")


def test_a_shipped_name_is_a_spec_also_beside_a_folder_of_that_name(folder):
    write_run(folder / "quickstart" / "2026-01-31_12-00-00", 0.01, 1)
    assert "name: quickstart" in netspec("show", "quickstart").out
    assert json.loads(netspec("info", "./quickstart/2026-01-31_12-00-00/spec.resolved.yaml", "--json").out)


def test_a_wrong_value_for_a_run_is_told_with_its_place(trained):
    said = netspec("info", trained, "--set", "layers.fc1.unit=3")
    assert said.code == 1 and "unknown key 'unit' (did you mean 'units'?)" in said.err


def test_a_folder_without_runs_is_no_spec(folder):
    (folder / "empty").mkdir()
    assert netspec("info", "empty") == (1, "", "error: empty: is a directory, not a file\n")


def test_going_on_takes_the_newest_run_of_a_folder(trained, folder):
    said = netspec("run", "--resume", trained.parent, "--epochs", 3, *BINDING)
    assert said.code == 0 and "it was at its end already" in said.out


@pytest.mark.parametrize("command", ["run", "sweep", "validate"])
def test_a_run_in_place_of_a_spec_is_told_with_what_can_be_done(command):
    said = netspec(command, FIRST)
    assert said.code == 1 and f"{FIRST}: a run, not a spec (netspec run --resume resumes it" in said.err
