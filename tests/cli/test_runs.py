"""``runs``, ``compare`` and ``curves`` over run directories as a run leaves them."""

import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from cli_tools import MINI, netspec

from netspec.report.chart import ticks
from netspec.rundir.directory import summary
from netspec.spec import loads, resolved


def write_run(folder, rate, speed, evaluations=4, per_epoch=25):
    folder.mkdir(parents=True)
    (folder / "spec.resolved.yaml").write_text(resolved(loads(MINI, "mini.yaml", [f"train.sgd.learning_rate={rate}"])))
    (folder / "environment.json").write_text(json.dumps({"netspec": "0.1.0", "cores": speed, "command": [rate]}))
    total = per_epoch * evaluations
    lines = [dict(event="start", name="mini", iterations_per_epoch=per_epoch, total_iterations=total, iteration=0)]
    for iteration in range(1, total + 1):
        loss = 2 * math.exp(-speed * iteration / 100) + 0.1
        errors = {"top1": loss / 3, "top5": loss / 6}
        epoch = (iteration - 1) // per_epoch + 1
        step = dict(epoch=epoch, iteration=iteration, loss=loss, errors=errors, images_per_second=10.0, seconds=0.5)
        lines.append(dict(event="iteration", **step))
        if iteration % per_epoch == 0:
            lines.append(dict(event="evaluation", epoch=epoch, iteration=iteration, loss=loss, errors=errors))
    lines.append(dict(event="iteration", epoch=epoch, iteration=total, loss=None, errors={}, seconds=0.5))
    lines.append(dict(event="finish", status="finished", iteration=total, epoch=evaluations))
    text = "".join(json.dumps({"time": 1.7e9 + n, **line}) + "\n" for n, line in enumerate(lines))
    (folder / "metrics.jsonl").write_text(text + '{"event": "iterat')  # a line that was cut off
    return folder


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs" / "mini" / "2026-01-30_12-00-00", 0.01, 1)
    write_run(tmp_path / "runs" / "mini" / "2026-01-31_12-00-00", 0.02, 2)
    return ["runs/mini/2026-01-30_12-00-00", "runs/mini/2026-01-31_12-00-00"]


def test_runs_newest_first(runs):
    rows = [line for line in netspec("runs").out.splitlines() if line.startswith(" runs/")]
    assert [row.split()[0] for row in rows] == runs[::-1]
    assert "finished" in rows[0] and "100/100" in rows[0] and "top-1 " in rows[0]


def test_the_time_between_an_end_and_a_resumption_is_not_counted(runs):
    path = Path(runs[0], "metrics.jsonl")
    lines = path.read_text().splitlines()[:-1]  # without the one that was cut off
    again = {**json.loads(lines[0]), "iteration": 100, "time": 1.7e9 + 5000}
    finish = {**json.loads(lines[-1]), "time": 1.7e9 + 5002}
    path.write_text("\n".join([*lines, json.dumps(again), json.dumps(finish)]) + "\n")
    assert summary(runs[0]).seconds == len(lines) - 1 + 2


def test_no_runs_is_said(tmp_path):
    assert netspec("runs", "--out", tmp_path / "none").out.startswith("no runs in ")
    assert netspec("runs", "other").out == "no runs of other in runs\n"
    assert json.loads(netspec("runs", "--out", "none", "--json").out) == []


def test_compare_shows_what_differs_and_nothing_else(runs):
    data = json.loads(netspec("compare", *runs, "--json").out)
    assert data["spec"] == [{"path": "train.sgd.learning_rate", "first": 0.01, "second": 0.02}]
    assert data["environment"] == [{"path": "cores", "first": 1, "second": 2}]
    assert [row["path"] for row in data["evaluations"]] == [f"epoch {n}" for n in (1, 2, 3, 4)]
    text = netspec("compare", *runs).out
    assert f"A  {runs[0]}\nB  {runs[1]}\n" in text and "train.sgd.learning_rate" in text
    assert "best top-1 error" in text and "images a second" in text


def test_a_damaged_run_is_one_line(runs, tmp_path):
    (tmp_path / runs[0] / "spec.resolved.yaml").write_text("layers: [")
    said = netspec("compare", *runs)
    assert said.code == 1 and said.err.startswith(f"{runs[0]}/spec.resolved.yaml:1:10: ")


def test_curves_in_the_terminal(runs):
    said = netspec("curves", *runs)
    assert said.code == 0 and "\x1b" not in said.out
    lines = said.out.splitlines()
    assert any(line.strip() == "top-1 error" for line in lines) and any("epoch 4" in line for line in lines)
    assert sum(any("\u2800" < char <= "\u28ff" for char in line) for line in lines) > 10
    assert f"-- {runs[1]}, validation" in lines


def test_curves_as_json_are_thinned_means(runs):
    loss, error = json.loads(netspec("curves", *runs, "--json").out)
    assert (loss["title"], error["title"], error["percent"]) == ("loss", "top-1 error", True)
    assert [(one["run"], one["part"]) for one in loss["series"]] == [
        (0, "training"),
        (0, "validation"),
        (1, "training"),
        (1, "validation"),
    ]
    assert loss["series"][1]["points"][-1][0] == 4.0


def test_curves_into_files(runs, tmp_path):
    said = netspec("curves", *runs, "-o", "c.svg")
    assert said == (0, "wrote c.svg\n", "")
    root = ET.parse(tmp_path / "c.svg").getroot()
    shapes = [element for element in root if element.tag.endswith("polyline")]
    assert len({shape.get("stroke") for shape in shapes}) >= 4  # two runs, ink and grid
    assert netspec("curves", runs[0], "-o", "c.png").code == 0
    from PIL import Image

    with Image.open(tmp_path / "c.png") as image:
        assert image.width > 1000 and len(set(image.convert("L").tobytes())) > 10


def test_one_evaluation_is_a_dot(tmp_path):
    run = write_run(tmp_path / "runs" / "mini" / "2026-02-01_12-00-00", 0.01, 1, evaluations=1)
    assert netspec("curves", run, "-o", "c.svg").code == 0
    assert "<circle" in (tmp_path / "c.svg").read_text()
    assert netspec("curves", run, "-o", "c.png").code == netspec("curves", run).code == 0


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 0.001), (0.3, 0.31), (-5, 120), (0, 7e6), (2.0, 2.0000001)])
def test_ticks_are_few_round_and_inside(low, high):
    marks = ticks(low, high)
    assert 2 <= len(marks) <= 8
    assert all(low - 1e-9 * abs(low) <= mark <= high * (1 + 1e-9) for mark in marks)
