"""``netspec lr-find`` as a user meets it: on two devices, leaving nothing, ending with a command that works."""

import json
import os
import re
import shlex
import signal
from pathlib import Path

import pytest
from cli_tools import MINI, netspec

import netspec as package
from netspec.events import IterationDone
from netspec.report.rate_range import read_csv

FIND = ("lr-find", "mini.yaml", "--workers", 0, "--devices", "cpu:0,cpu:1")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "mini.yaml").write_text(MINI)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def data(*args):
    said = netspec(*FIND, "--json", *args)
    assert said.code == 0, said
    return json.loads(said.out)


def test_a_curve_and_the_one_line_to_type(folder):
    said = netspec(*FIND, "--seed", 3)
    assert said.code == 0, said
    lines = said.out.splitlines()
    assert [line.split()[0] for line in lines if re.match(r" +1e-07 ", line)] == ["1e-07"]
    assert sum(bool(re.fullmatch(r" +[\d.e+-]+ +[\d.e+-]+ +[\d.e+-]+", line)) for line in lines) == 16
    assert lines[-2].startswith("suggestion: ") and "falls most steeply" in lines[-2]
    assert [path.name for path in folder.iterdir()] == ["mini.yaml"]  # nothing that was trained is left
    words = shlex.split(lines[-1])
    assert words[:3] == ["netspec", "run", "mini.yaml"] and words[-2] == "--lr"
    assert words[3:-2] == ["--devices", "cpu:0,cpu:1", "--seed", "3"]
    done = netspec(*words[1:], "--epochs", 1, "--workers", 0)
    assert done.code == 0, done
    assert f"learning_rate: {words[-1]}" in next(Path("runs").rglob("spec.resolved.yaml")).read_text()


def test_rates_rise_evenly_and_the_losses_are_a_runs(folder):
    found = data("--from", 1e-4, "--to", 1e-2, "--iterations", 21)
    assert found["rates"] == pytest.approx([10 ** (-4 + number / 10) for number in range(21)])
    assert found["ended"] == "that was the highest rate"
    losses = []
    package.run(
        "mini.yaml",
        iterations=1,
        workers=0,
        devices="cpu:0,cpu:1",
        listener=lambda event: losses.append(event.loss) if isinstance(event, IterationDone) else None,
    )
    assert found["losses"][0] == losses[0]


def test_the_serial_runner_and_the_specs_own_rate_and_schedule_give_the_same(folder):
    first, *others = (
        data("--iterations", 24, *more)
        for more in ((), ("--runner", "serial"), ("--set", "train.schedule={type: step, at: [1]}"))
    )
    assert all(other["losses"] == first["losses"] for other in others)


def test_it_ends_where_the_loss_diverges(folder):
    found = data("--to", 1e6, "--iterations", 60)
    assert found["ended"] in ("the loss diverged", "the loss, or a gradient, was not finite")
    assert len(found["rates"]) < 60 and found["rates"][-1] < 1e6
    assert all(isinstance(loss, float) for loss in found["losses"])


def test_what_cannot_fall_suggests_nothing(folder):
    said = netspec(*FIND, "--to", 1e-6)
    assert said.code == 0
    assert said.out.splitlines()[-1].startswith("no suggestion: the loss falls nowhere by more than chance")


def test_files_of_it(folder):
    assert netspec(*FIND, "-o", "rates.csv").code == 0
    found = read_csv(Path("rates.csv"))
    said = netspec("figure", "rates", "rates.csv", "-o", "rates.svg", "--json")
    assert json.loads(said.out)["suggestion"] == found.suggestion
    assert netspec(*FIND, "-o", "again.svg").code == 0
    assert Path("again.svg").read_bytes() == Path("rates.svg").read_bytes()


def test_a_signal_ends_it_with_its_code(folder, monkeypatch):
    from netspec.runners import lr_find

    class Stopping(lr_find._Measured):
        def __call__(self, event):
            super().__call__(event)
            if len(self.rates) == 5:
                os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(lr_find, "_Measured", Stopping)
    said = netspec(*FIND)
    assert said.code == 143 and "it was interrupted" in said.out
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--from", 1, "--to", 0.1), 2, "--from 1 must be below --to 0.1"),
        (("--from", 0), 2, "--from"),
        (("--iterations", 3), 2, "--iterations"),
        (("-o", "rates.txt"), 2, "must end with .csv"),
        (("-o", "gone/rates.csv"), 2, "there is no such folder"),
        (("--set", "data.scale=1.0e+38"), 1, "iteration 1 (epoch 1): the loss is nan; the first numbers"),
        (("--set", "train.solver.learning_rate=1"), 2, "both give train.solver.learning_rate"),
        (("--batch", 4, "--set", "train.batch=8"), 2, "both give train.batch"),
        (("--batch", 4000), 1, "cannot fill a batch"),
        (("--set", "train.early_stopping={}", "--set", "data.source.val_images=0"), 1, "early stopping follows"),
        (("--devices", "tpu"), 1, "tpu"),
    ],
)
def test_what_is_refused(args, code, message, folder):
    said = netspec(*FIND, *args)
    assert said.code == code and message in said.err
    assert [path.name for path in folder.iterdir()] == ["mini.yaml"]


def test_from_python(folder):
    found = package.lr_find("mini.yaml", iterations=30, workers=0, devices="cpu:0,cpu:1")
    assert len(found.rates) == len(found.losses) <= 30 and found.exit_code == 0
    with pytest.raises(package.NetspecError, match="rates must rise"):
        package.lr_find("mini.yaml", lowest=0.0)
