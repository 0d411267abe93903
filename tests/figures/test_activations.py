"""Figure 1: where curves cross the level, against a crossing that is computed apart."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cli_tools import netspec
from metric_runs import falling, write_run

from netspec.figures import picture
from netspec.figures.activations import crossing, windowed


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "mini"
    made = [(0.01, 1.0, 0), (0.01, 1.1, 1), (0.02, 4.0, 0)]
    return [write_run(folder / str(n), rate, speed, 8, seed=seed) for n, (rate, speed, seed) in enumerate(made)]


def expected(speed: float, level: float = 0.25, per_epoch: int = 25) -> float:
    """By numpy: means by epoch of a third of the loss, and a straight line between them."""
    means = np.array([falling(speed)(i) / 3 for i in range(1, 8 * per_epoch + 1)]).reshape(-1, per_epoch).mean(axis=1)
    return float(np.interp(-level, -means, np.arange(1, len(means) + 1)))


def test_crossings_and_ratio(runs):
    race = picture("activations", runs).data
    assert [one.label for one in race.learners] == ["learning_rate 0.01", "learning_rate 0.02"]
    assert race.learners[0].crossings == pytest.approx([expected(1.0), expected(1.1)])
    assert race.learners[1].crossings == pytest.approx([expected(4.0)])
    assert race.ratio == pytest.approx((expected(1.0) + expected(1.1)) / 2 / expected(4.0))


def test_labels_group_runs(runs):
    race = picture("activations", runs, ["tanh", "ReLU", "ReLU"]).data
    assert [(one.label, len(one.curves)) for one in race.learners] == [("tanh", 1), ("ReLU", 2)]


def test_another_level_and_window(runs):
    race = picture("activations", runs[:1], level=0.2, window=0.2).data
    (found,) = race.learners[0].crossings
    assert abs(3 * 0.2 - falling(1.0)(found * 25)) < 0.02  # the mean of five iterations trails by two
    assert race.ratio is None


def test_a_level_that_is_not_reached_is_said(runs):
    said = netspec("figure", "activations", *runs, "--level", 0.01, "-o", "f.svg")
    assert said.code == 0 and said.out.count("1 % not reached") == 2 and "ratio" not in said.out


def test_a_level_reached_before_the_first_point_is_said(runs):
    said = netspec("figure", "activations", runs[2], "--level", 0.6, "-o", "f.svg")
    assert said.out.startswith("mini: before the first point\n")


def test_numbers_as_json(runs):
    data = json.loads(netspec("figure", "activations", *runs, "--json").out)
    assert data["level"] == 0.25 and len(data["learners"][0]["curves"][0]) == 8


def test_crossing_is_the_first_one_and_lies_on_the_line():
    assert crossing([(1, 0.5), (2, 0.3), (3, 0.1), (4, 0.4), (5, 0.1)], 0.2) == pytest.approx(2.5)
    assert crossing([(1, 0.5), (2, 0.25)], 0.25) == 2 and crossing([(1, 0.5)], 0.25) is None
    assert crossing([(1, 0.2), (2, 0.1)], 0.25) == 0.0


def test_windows_hold_whole_epochs():
    points = [(n / 4, float(n)) for n in range(1, 11)]
    assert windowed(points, 1.0) == ((1.0, 2.5), (2.0, 6.5), (2.5, 9.5))
    assert windowed(points, 0.5)[0] == (0.5, 1.5) and len(windowed(points, 0.5)) == 5
