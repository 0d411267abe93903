"""Options that stand for a path of ``--set``: recorded like it, and never given in two ways."""

import re
from pathlib import Path

import pytest
import yaml
from cli_tools import MINI, netspec

SHORT = {
    "--epochs": ("epochs", 1),
    "--iterations": ("iterations", 2),
    "--batch": ("batch", 4),
    "--seed": ("seed", 7),
    "--lr": ("solver.learning_rate", 0.02),
    "--momentum": ("solver.momentum", 0.5),
    "--weight-decay": ("solver.weight_decay", 1e-05),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "mini.yaml").write_text(MINI)
    monkeypatch.chdir(tmp_path)


def recorded(said):
    assert said.code == 0, said
    run = re.search(r"^the run lies in (.+)$", said.out, re.MULTILINE)[1]
    return Path(run, "spec.resolved.yaml").read_text()


def test_they_are_recorded_as_set_is():
    short = [word for option, (_, value) in SHORT.items() for word in (option, value)]
    long = [word for path, value in SHORT.values() for word in ("--set", f"train.{path}={value}")]
    text = recorded(netspec("run", "mini.yaml", "--workers", 0, *short))
    assert text == recorded(netspec("run", "mini.yaml", "--workers", 0, *long))
    train = yaml.safe_load(text)["train"]
    for path, value in SHORT.values():
        part, _, key = path.rpartition(".")
        assert (train[part] if part else train)[key] == pytest.approx(value)


def test_the_help_names_each_path():
    said = " ".join(netspec("run", "--help").out.split())
    for option, (path, _) in SHORT.items():
        assert re.search(rf"{option} [A-Z]+ [^:]+: train\.{re.escape(path)}\.", said)


@pytest.mark.parametrize(
    ("args", "both"),
    [
        (["run", "--lr", 1, "--set", "train.solver.learning_rate=2"], "--lr and --set train.solver.learning_rate=2"),
        (["run", "--lr", 1, "--set", "train.sgd={learning_rate: 2}"], "--lr and --set train.sgd={"),
        (["run", "--epochs", 1, "--set", "train.epochs=2"], "--epochs and --set train.epochs=2"),
        (
            ["sweep", "--lr", 1, "--vary", "train.sgd.learning_rate=[1]"],
            "--vary train.sgd.learning_rate and --lr",
        ),
        (["sweep", "--seeds", "0..1", "--set", "train.seed=3"], "--seeds and --set train.seed=3"),
        (["validate", "--batch", 4, "--set", "train.batch=8"], "--batch and --set train.batch=8"),
    ],
)
def test_two_ways_are_an_error_in_a_line(args, both):
    said = netspec(*args, "mini.yaml")
    assert said.code == 2
    assert f"Error: {both}" in said.err and said.err.rstrip().endswith("leave one of them out")
    assert not Path("runs").exists()


def test_another_key_of_the_same_map_is_no_second_way():
    said = netspec("run", "mini.yaml", "--workers", 0, "--epochs", 1, "--lr", 0.5, "--set", "train.sgd={momentum: 0.1}")
    train = yaml.safe_load(recorded(said))["train"]
    assert train["solver"] == {"type": "sgd", "learning_rate": 0.5, "momentum": 0.1, "weight_decay": 0.0005}


@pytest.mark.parametrize("value", ["nan", "-1", "fast"])
def test_a_rate_that_is_none_is_refused(value):
    said = netspec("run", "mini.yaml", "--lr", value)
    assert said.code in (1, 2) and not Path("runs").exists()
    assert "--lr" in said.err or "learning_rate" in said.err
