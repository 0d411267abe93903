"""What a notebook shows of results."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest

import netspec
from netspec import figures, page
from netspec._types import Prediction, Predictions
from netspec.errors import NetspecError
from netspec.graph import draw

UNPLANNED = """
netspec: 1
name: odd
devices: [one]
inputs: {image: {shape: [8, 8, 3]}, label: {dtype: int32}}
layers:
  - {name: conv1, type: conv, inputs: image, filters: 8, size: 11}
  - {name: fc, type: dense, units: 3}
  - {name: loss, type: softmax_loss, inputs: [fc, label]}
"""


def words(html: str | None) -> str:
    """What one reads."""
    assert html is not None
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def test_a_plan_is_the_picture_and_the_tables_of_the_commands() -> None:
    plan = netspec.plan("quickstart", "predict", batch=2)
    assert plan._repr_svg_() == draw(plan, "svg")
    shown = plan._repr_html_()
    assert shown is not None and shown.startswith('<figure><img class="own-colours" src="data:image/svg+xml;base64,')
    said = words(shown)
    assert "predict, batch 2" in said and "conv1 conv left 32 x 32 x 16 1,216" in said
    assert "crossings between devices" in said and "total" in said


def test_a_spec_is_the_picture_of_its_plan_and_its_text() -> None:
    spec = netspec.load("quickstart", ["train.batch=8"])
    assert spec._repr_svg_() == draw(netspec.plan(spec), "svg")
    assert "learning_rate: 0.02" in words(spec._repr_html_())


def test_a_spec_of_which_no_plan_can_be_made_is_its_text_alone(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text(UNPLANNED)
    spec = netspec.load(tmp_path / "odd.yaml")
    assert spec._repr_svg_() is None
    shown = spec._repr_html_()
    assert shown is not None and "<img" not in shown and "filters: 8" in words(shown)


def test_a_run_is_its_line_among_runs_and_its_curves(runs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    run = netspec.open_run(runs[0])
    shown = run._repr_html_()
    assert shown is not None and "data:image/svg+xml" in shown
    assert "finished 2 6 of 6" in words(shown)

    def absent(*given: object, **settings: object) -> figures.Picture:
        raise NetspecError("matplotlib is missing")

    monkeypatch.setattr(page.run_page, "picture", absent)
    bare = run._repr_html_()
    assert bare is not None and "<img" not in bare and "curves: matplotlib is missing" in words(bare)


def test_predictions_are_rows_of_classes() -> None:
    seen = Prediction("<i>.png", (("n01", 0.75), ("n02", 0.25)), None, ("tench", ""))
    assert "<i>" not in str(seen._repr_html_())
    assert words(seen._repr_html_()) == "image seen probability <i>.png n01: tench 75.0 % n02 25.0 %"
    several = Predictions([seen, Prediction("b", (), "an empty file"), Prediction("c", (), numbers=(1.5, 2.0))])
    assert words(several._repr_html_()).endswith("n02 25.0 % b an empty file c 1.5 2")
    assert "and 30 more images" in words(Predictions([seen] * 130)._repr_html_())


def test_predict_gives_a_list_that_shows_itself(runs: list[Path]) -> None:
    found = netspec.predict(runs[0], [np.zeros((9, 8, 3), np.uint8)] * 2)
    assert isinstance(found, list) and len(found) == 2
    assert "image 0" in words(found._repr_html_())  # type: ignore[attr-defined]


def test_an_evaluation_is_the_tables_of_the_command(runs: list[Path]) -> None:
    done = netspec.evaluate(runs)
    said = words(done._repr_html_())
    assert "top-1 error (95 %)" in said and "errors by class" in said and "McNemar" in said


def test_a_notebook_asks_for_both(runs: list[Path]) -> None:
    formatters = pytest.importorskip("IPython.core.formatters", reason="needs pip install 'netspec[test]'")
    formatter = formatters.DisplayFormatter()
    plan, prediction = netspec.plan("quickstart"), Prediction("a", (("red", 1.0),))
    assert {"text/html", "image/svg+xml", "text/plain"} <= set(formatter.format(plan)[0])
    assert {"text/html", "text/plain"} <= set(formatter.format(prediction)[0])
    assert {"text/html", "text/plain"} <= set(formatter.format(netspec.open_run(runs[0]))[0])
