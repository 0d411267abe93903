"""``run``, ``eval`` and ``predict`` end to end on a small network, and the same through Python."""

import contextlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from cli_tools import MINI, netspec, python, started

import netspec as package
from netspec.events import EvaluationDone, IterationDone, RunFinished, RunStarted


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a spec and one finished run of it, and what was said meanwhile."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "mini.yaml").write_text(MINI)
    before = Path.cwd()
    os.chdir(folder)
    try:
        said = netspec("run", "mini.yaml", "--workers", 0)
    finally:
        os.chdir(before)
    assert said.code == 0, said
    return folder, said


@pytest.fixture(autouse=True)
def folder(trained, monkeypatch):
    monkeypatch.chdir(trained[0])
    return trained[0]


@pytest.fixture
def run(trained):
    return re.search(r"^the run lies in (.+)$", trained[1].out, re.MULTILINE)[1]


def test_a_run_tells_what_it_took_learned_and_wrote(trained, run):
    lines = trained[1].out.splitlines()
    assert any(line.startswith("48 training and 16 validation images of 3 classes") for line in lines)
    assert any(line.startswith("left is ") for line in lines)
    assert any("iteration 12/12" in line for line in lines)
    assert "finished after 12 iterations" in trained[1].out and "learned: training loss" in trained[1].out
    assert run.startswith("runs/mini/") and (Path(run) / "spec.resolved.yaml").is_file()
    assert f"  netspec eval {run}\n      its errors once more\n" in trained[1].out


def test_the_commands_named_at_the_end_work(trained, run):
    named = re.findall(r"^  netspec (\w+)", trained[1].out, re.MULTILINE)
    assert named == ["eval", "predict", "run"]
    said = netspec("run", "--resume", run, "--epochs", 3, "--workers", 0)
    assert said.code == 0, said
    assert "going on after iteration 12" in said.out and "iteration 18/18" in said.out


def test_eval_says_one_line_and_json(run):
    said = netspec("eval", run, "--workers", 0)
    assert said.code == 0 and re.search(r"^evaluated val after .*\(16 images, centre crop, in ", said.out, re.MULTILINE)
    data = json.loads(netspec("eval", run, "--workers", 0, "--split", "train", "--json").out)
    assert data["split"] == "train" and data["images"] == 48 and 0 <= data["errors"]["top1"] <= 1


def test_predict_shows_classes_and_tells_images_that_cannot_be_read(run, folder):
    from PIL import Image

    Image.new("RGB", (20, 12), "red").save(folder / "red.png")
    (folder / "odd.png").write_bytes(b"no image")
    said = netspec("predict", run, "red.png", "--top", 2)
    assert said.code == 0
    assert re.fullmatch(r"red\.png\n +[\d.]+ %  [\w-]+\n +[\d.]+ %  [\w-]+\n", said.out)
    both = netspec("predict", run, "red.png", "odd.png", "gone.png", "--json")
    red, odd, gone = json.loads(both.out)
    assert both.code == 1
    assert red["error"] is None and sum(one["probability"] for one in red["top"]) == pytest.approx(1, abs=1e-5)
    assert odd["error"] and gone["error"] and odd["top"] == []
    assert "error: odd.png: " in netspec("predict", run, "odd.png").err


def test_options_reach_the_run(folder):
    said = netspec(
        *("run", "mini.yaml", "--workers", 0, "--iterations", 2, "--seed", 7, "--batch", 4, "--out", "elsewhere"),
        *("--runner", "serial", "--devices", "cpu:0,cpu:0", "--set", "train.solver.momentum=0.5", "--trace", "t.json"),
    )
    assert said.code == 0, said
    assert "left is cpu:0, right is cpu:0" in said.out and "2 iterations of 4 images" in said.out
    made = next((folder / "elsewhere" / "mini").iterdir())
    spec = (made / "spec.resolved.yaml").read_text()
    for line in ("momentum: 0.5", "seed: 7", "batch: 4", "iterations: 2"):
        assert line in spec
    assert json.loads((folder / "t.json").read_text())


def test_resume_latest_takes_the_newest_run(folder):
    assert netspec("run", "mini.yaml", "--workers", 0, "--out", "again", "--iterations", 3).code == 0
    said = netspec("run", "mini.yaml", "--workers", 0, "--out", "again", "--resume", "latest", "--iterations", 5)
    assert said.code == 0, said
    assert "going on after iteration 3" in said.out


@contextlib.contextmanager
def training(out):
    """A run of many iterations in a process of its own, as soon as it has done three."""
    command = ("-m", "netspec", "run", "mini.yaml", "--epochs", 100_000, "--workers", 0, "--out", out)
    with started(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        said = []
        for line in process.stdout:
            said.append(line)
            if "iteration 3/" in line:
                break
        yield process, said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_iteration_and_writes_a_checkpoint(folder, number, code, usual_interrupt):
    with training(f"out{number:d}") as (process, said):
        assert "SIGINT" not in "".join(said)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (code, "")
    assert "interrupted after " in out and "netspec run --resume" in out
    assert list((folder / f"out{number:d}").rglob("*.safetensors"))


def test_where_sigint_is_ignored_it_stays_so_and_a_line_says_what_ends_the_run(folder):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with training("ignoring") as (process, said):
            process.send_signal(signal.SIGINT)
            for line in process.stdout:
                if "iteration " in line:
                    break
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (process.returncode, err) == (143, "")
    advice = f"SIGINT (Ctrl-C) is ignored here: kill -TERM {process.pid} ends the run, with a checkpoint"
    assert advice in "".join(said)
    assert advice in next((folder / "ignoring").rglob("log.txt")).read_text()
    assert "netspec run --resume" in out


def test_runs_lists_it_and_compare_and_curves_take_it(run, folder):
    text = netspec("runs", "mini").out
    assert run in text and "finished" in text
    (row,) = [row for row in json.loads(netspec("runs", "--json").out) if row["folder"] == run]
    assert row["status"] == "finished" and row["nbytes"] > 0 and "top1" in row["best"]
    assert netspec("curves", run).code == 0
    same = netspec("compare", run, run)
    assert same.code == 0 and "spec: the same" in same.out


def test_python_does_what_the_command_line_does(folder):
    spec = package.load("mini.yaml", ["train.epochs=1"])
    assert package.plan(spec, "predict", 1).batch == 1
    assert package.load("mini.yaml", "train.epochs=1") == spec
    assert str(spec) == "Spec(mini: 4 layers on left, right)"
    assert str(package.plan("mini.yaml")).startswith("Plan(mini, train, batch 8: 4 layers on left, right; ")
    events = []
    result = package.run(spec, workers=0, out="api", listener=events.append)
    assert result.status == "finished" and result.iteration == 6
    kinds = [type(event) for event in events]
    assert kinds.count(IterationDone) == 6 and RunStarted in kinds and kinds[-1] is RunFinished
    done = package.evaluate(result.folder, workers=0)
    assert isinstance(done, EvaluationDone) and done.images == 16
    from PIL import Image

    (prediction,) = package.predict(result.folder, [Image.new("RGB", (9, 9), "blue")], top=1)
    assert prediction.error is None and len(prediction.top) == 1
    (prediction,) = package.predict(result.folder, "gone.png")
    assert prediction.path == "gone.png" and prediction.error == "No such file or directory"


def test_errors_in_python_are_of_one_kind():
    for function in (package.load, package.plan, package.run, package.evaluate):
        with pytest.raises(package.NetspecError, match="gone"):
            function("gone")
    with pytest.raises(AttributeError, match="has no attribute 'gone'"):
        _ = package.gone


def test_import_netspec_is_cheap_and_its_functions_are_there():
    code = """
import sys, netspec
assert not {"numpy", "yaml", "click", "rich"} & set(sys.modules), sys.modules
assert {"load", "plan", "run", "evaluate", "predict"} <= set(dir(netspec))
from netspec.planning import Plan
assert isinstance(netspec.plan(netspec.load("quickstart")), Plan)
assert "Resolve a spec" in netspec.plan.__doc__
"""
    assert python("-c", code) == (0, "", "")


def test_progress_needs_no_terminal_and_goes_where_it_should(run):
    said = netspec("eval", run, "--workers", 0, "--json")
    assert json.loads(said.out) and "images of 3 classes" in said.err
