"""Sweeps: ordinary runs in turn, of which those that are there already are not trained again."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli_tools import netspec
from training_runs import SPEC, stopping_after

from netspec.api import run, sweep
from netspec.errors import NetspecError, SpecError
from netspec.events import IterationDone, RunStarted
from netspec.runners.training import checkpoint
from netspec.runners.training.saver import listed

DEVICES = {"devices": "cpu:0,cpu:1"}


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The tiny net, and one without dropout."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(SPEC.replace("epochs: 3", "epochs: 1"))
    other = "netspec: 1\nname: bare\nextends: tiny.yaml\nlayers:\n  - {name: drop1, remove: true}\n"
    (tmp_path / "bare.yaml").write_text(other + "  - {name: fc, inputs: {from: pool1, connect: all}}\n")
    return [tmp_path / "tiny.yaml", tmp_path / "bare.yaml"]


def go(specs, **options):
    """The trials, and the iterations that were trained for them."""
    events: list = []
    listener = options.pop("listener", events.append)
    trials = sweep(specs, listener=listener, **DEVICES, **options)
    return trials, sum(isinstance(event, IterationDone) for event in events)


def test_each_spec_with_each_value_and_seed(specs):
    trials, iterations = go(specs, seeds=[0, 1], vary={"train.solver.learning_rate": [0.01, 0.05]})
    assert [(t.name, t.values["train.solver.learning_rate"], t.seed) for t in trials] == [
        (name, rate, seed) for name in ("tiny", "bare") for rate in ("0.01", "0.05") for seed in (0, 1)
    ]
    assert {trial.status for trial in trials} == {"finished"} and iterations == 8 * 5
    assert len({trial.folder for trial in trials}) == 8
    for trial in trials:
        record = checkpoint.read_record(listed(trial.folder / "checkpoints")[0])
        assert record.spec["train"]["solver"]["learning_rate"] == float(trial.values["train.solver.learning_rate"])
        assert record.seed == trial.seed
        assert trial.errors == record.evaluated.errors and trial.loss == record.evaluated.loss


def test_what_is_finished_is_recognised_and_more_of_it_adds_to_it(specs):
    first, iterations = go(specs, seeds=[0])
    again, none = go(specs, seeds=[0])
    assert (iterations, none) == (10, 0)
    assert again == first
    more, added = go(specs, seeds=[0, 3])
    assert added == 10
    assert [trial for trial in more if trial.seed == 0] == first
    other, trained = go(specs[:1], seeds=[0], overrides="train.solver.momentum=0.5")
    assert trained == 5 and other[0].folder != first[0].folder


def test_an_ordinary_run_is_recognised_too(specs):
    made = run(specs[0], seed=4, **DEVICES)
    trials, iterations = go(specs[:1], seeds=[4])
    assert iterations == 0 and trials[0].folder == made.folder


def test_an_interrupted_sweep_goes_on_to_the_same_numbers(specs, tmp_path):
    stopped, _ = go(specs, seeds=[0, 1], listener=stopping_after(3))
    assert [trial.status for trial in stopped] == ["interrupted"] and stopped[0].exit_code == 143
    events: list = []
    trials = sweep(specs, seeds=[0, 1], listener=events.append, **DEVICES)
    assert next(event for event in events if isinstance(event, RunStarted)).iteration == 3
    assert trials[0].folder == stopped[0].folder
    whole = sweep(specs, seeds=[0, 1], out=tmp_path / "whole", **DEVICES)
    strip = {"folder": None, "seconds": 0.0}
    assert [replace(trial, **strip) for trial in trials] == [replace(trial, **strip) for trial in whole]


def test_a_run_that_fails_is_told_and_the_others_go_on(specs):
    trials, _ = go(specs[:1], vary={"train.solver.learning_rate": [1e38, 0.05]})
    assert [trial.status for trial in trials] == ["failed", "finished"]
    assert "Try a lower rate" in trials[0].message
    assert trials[0].folder is not None


def test_all_that_is_wrong_is_told_before_anything_is_trained(specs, tmp_path):
    with pytest.raises(SpecError) as caught:
        go(specs, vary={"layers.fc.units": [2, 3, 1]})
    assert len(caught.value.problems) == 2  # fewer outputs than classes
    assert not (tmp_path / "runs").exists()
    with pytest.raises(NetspecError, match=r"two runs of the sweep are called tiny, seed 5"):
        go([specs[0], specs[0]])


def test_the_command_prints_a_table_csv_or_json(specs):
    words = ["sweep", "tiny.yaml", "bare.yaml", "--seeds", "0..1,5", "--devices", "cpu:0,cpu:1"]
    said = netspec(*words)
    assert said.code == 0, said.err
    assert "against the first" in said.out and "3 of 3" in said.out and "standard deviation" in said.out
    rows = json.loads(netspec(*words, "--json").out)
    assert [row["name"] for row in rows] == ["tiny", "bare"]
    assert rows[0]["results"]["top1"]["n"] == 3 and len(rows[0]["runs"]) == 3
    lines = netspec(*words, "--csv").out.splitlines()
    assert lines[0] == "name,runs,top1_mean,top1_sd,top1_se,loss_mean,loss_sd,loss_se"
    assert float(lines[1].split(",")[2]) == rows[0]["results"]["top1"]["mean"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "4..1"], "4..1 holds no seed"),
        (["--seeds", "few"], "'few' is neither a number nor a range"),
        (["--vary", "train.batch=4"], "'train.batch=4' is not PATH=[V, V]"),
        (["--vary", "train.batch"], "'train.batch' is not PATH=[V, V]"),
    ],
)
def test_wrong_usage(specs, words, message):
    said = netspec("sweep", "tiny.yaml", *words)
    assert said.code == 2 and message in said.err


def test_a_failed_run_gives_the_command_an_exit_code(specs):
    said = netspec("sweep", "tiny.yaml", "--vary", "train.solver.learning_rate=[1.0e+38]", "--devices", "cpu:0,cpu:1")
    assert said.code == 1
    assert "0 of 1" in said.out and "failed" in said.out


def test_a_run_recorded_before_a_key_was_there_is_the_same_run(specs):
    from netspec.runners.sweep import _is_same
    from netspec.spec import canonical, load

    planned = SimpleNamespace(spec=load(specs[0]), request=SimpleNamespace(data=None))
    wanted = canonical(planned.spec)
    loss = {name: value for name, value in wanted["layers"][-1].items() if name != "smoothing"}
    train = {name: value for name, value in wanted["train"].items() if name != "early_stopping"}
    older = {**wanted, "layers": [*wanted["layers"][:-1], loss], "train": train}
    assert older != wanted
    assert _is_same(SimpleNamespace(spec=older, classes=("a", "b", "c")), planned)
    fewer = {**older, "layers": older["layers"][:-1]}
    assert not _is_same(SimpleNamespace(spec=fewer, classes=("a", "b", "c")), planned)
