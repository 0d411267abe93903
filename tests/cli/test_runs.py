"""``runs``, ``compare`` and ``curves`` over run directories as a run leaves them."""

import json
import re
from pathlib import Path

import pytest
from cli_tools import netspec
from metric_runs import falling, write_run

from netspec.rundir.directory import summary


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs" / "mini" / "2026-01-30_12-00-00", 0.01, 1)
    write_run(tmp_path / "runs" / "mini" / "2026-01-31_12-00-00", 0.02, 2)
    return ["runs/mini/2026-01-30_12-00-00", "runs/mini/2026-01-31_12-00-00"]


def test_runs_newest_first(runs):
    rows = [line for line in netspec("runs").out.splitlines() if line.startswith(" runs/")]
    assert [row.split()[0] for row in rows] == runs[::-1]
    assert "finished" in rows[0] and "100/100" in rows[0] and "12.4 %" in rows[0]


def test_the_time_between_an_end_and_a_resumption_is_not_counted(runs):
    path = Path(runs[0], "metrics.jsonl")
    lines = path.read_text().splitlines()[:-1]  # without the one that was cut off
    again = {**json.loads(lines[0]), "iteration": 100, "time": 1.7e9 + 5000}
    finish = {**json.loads(lines[-1]), "time": 1.7e9 + 5002}
    path.write_text("\n".join([*lines, json.dumps(again), json.dumps(finish)]) + "\n")
    assert summary(runs[0]).seconds == len(lines) - 1 + 2


def test_no_runs_is_said(tmp_path):
    assert netspec("runs", "--out", tmp_path / "none").out.startswith("no runs in ")
    assert netspec("runs", "other").out == "no runs of other in runs (there are runs of mini)\n"
    assert json.loads(netspec("runs", "--out", "none", "--json").out) == []


def test_compare_shows_what_differs_and_nothing_else(runs):
    data = json.loads(netspec("compare", *runs, "--json").out)
    assert data["spec"] == [{"path": "train.solver.learning_rate", "first": 0.01, "second": 0.02}]
    assert data["environment"] == [{"path": "cores", "first": 1, "second": 2}]
    assert [row["path"] for row in data["evaluations"]] == [f"epoch {n}" for n in (1, 2, 3, 4)]
    best = next(row for row in data["results"] if row["path"] == "best top-1 error")
    assert 0 <= best["first"] <= 1 and data["evaluations"][0]["first"]["top1"] >= best["first"]
    text = netspec("compare", *runs).out
    assert f"{100 * best['first']:.2f} %" in text
    assert f"A  {runs[0]}\nB  {runs[1]}\n" in text and "train.solver.learning_rate" in text
    assert "best top-1 error" in text and "images a second" in text


def test_a_damaged_run_is_one_line(runs, tmp_path):
    (tmp_path / runs[0] / "spec.resolved.yaml").write_text("layers: [")
    said = netspec("compare", *runs)
    assert said.code == 1 and said.err.startswith(f"{runs[0]}/spec.resolved.yaml:1:10: ")


def test_curves_are_a_table_of_means(runs):
    said = netspec("curves", *runs)
    assert said.code == 0 and "\x1b" not in said.out
    titles = [line for line in said.out.splitlines() if line.startswith("learning_rate ")]
    assert titles == ["learning_rate 0.01", "learning_rate 0.02"]
    rows = _rows(said.out)
    assert [row[0] for row in rows] == ["1", "2", "3", "4"] * 2
    losses = [falling(1)(iteration) for iteration in range(26, 51)]
    assert rows[1][1] == f"{sum(losses) / 25:.4g}" and rows[1][-1] == "0.01" and rows[2][-1] == "0.001"
    assert [row[0] for row in _rows(netspec("curves", runs[0], "--rows", 2).out)] == ["1", "4"]
    assert [row[0] for row in _rows(netspec("curves", runs[0], "--rows", 1).out)] == ["4"]


def _rows(out):
    return [line.split() for line in out.splitlines() if re.match(r" +\d", line)]


def test_the_table_of_curves_fits_eighty_columns(runs):
    assert max(map(len, netspec("curves", *runs).out.splitlines())) <= 80


def test_curves_as_json_are_thinned_means(runs):
    panels = json.loads(netspec("curves", *runs, "--json").out)
    titles = [(panel["title"], panel["percent"]) for panel in panels]
    assert titles == [("loss", False), ("top-1 error", True), ("top-5 error", True), ("learning rate", False)]
    assert [(one["run"], one["part"]) for one in panels[0]["series"]] == [
        (0, "training"),
        (0, "validation"),
        (1, "training"),
        (1, "validation"),
    ]
    assert panels[0]["series"][1]["points"][-1][0] == 4.0
    assert panels[3]["series"][0]["points"] == [[0.04, 0.01], [2.04, 0.001], [4.0, 0.001]]


def test_curves_into_a_file_are_the_figure(runs, tmp_path):
    assert netspec("curves", *runs, "-o", "c.svg")[:2] == (0, "wrote c.svg\n")
    assert netspec("figure", "curves", *runs, "-o", "d.svg").code == 0
    assert (tmp_path / "c.svg").read_bytes() == (tmp_path / "d.svg").read_bytes()
