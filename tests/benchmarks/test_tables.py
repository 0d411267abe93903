"""The tables of benchmarks/README.md are those of its results, and its prose is left as it was written."""

from __future__ import annotations

import json

import pytest
from places import ROOT

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import report

    return report


def test_the_readme_holds_what_was_measured(report) -> None:
    text = report.README.read_text()
    for name, section in report.SECTIONS.items():
        file = BENCHMARKS / "results" / f"{section.results}.json"
        if file.is_file():
            lines = section.lines(json.loads(file.read_text()))
            assert report.filled(text, name, lines) == text, f"{name}: run python benchmarks/report.py"


def test_prose_is_kept(report) -> None:
    text = "<!-- x -->\nBefore.\n\nMeasured long ago.\n\n| a |\n|---|\n| 1 |\n\nAfter | it.\n<!-- /x -->\n| other |\n"
    found = report.filled(text, "x", ["Measured now.", "", "| a |", "|---|", "| 2 |", "| 3 |"])
    assert found == text.replace("long ago", "now").replace("| 1 |", "| 2 |\n| 3 |")


def test_a_section_that_is_not_there(report) -> None:
    with pytest.raises(SystemExit, match="no section <!-- y -->"):
        report.filled("", "y", [])


@pytest.mark.parametrize("what", ["training", "inference"])
def test_rows_of_all_rounds(monkeypatch, what: str) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import alexnet_cpu
    import tables

    class Done:
        start = {"setup": 1.0, "first": 2.0}
        peak = 2.0**30

        def __init__(self, name: str, times: list[float]) -> None:
            self.name, self.times = name, times
            self.answers = [{"seconds": t, "flops": 2e11, "read": 2e10} for t in times]

    arguments = alexnet_cpu.argparse.Namespace(what=what, batch=1, threads=2, rounds=2, iterations=1)
    systems = [Done("ours", [1.0, 2.0]), Done("theirs", [2.0, 4.0]), Done("machine", [1.0, 1.0])]
    result = alexnet_cpu.report(systems, arguments)
    assert [row["ratio"] for row in result["rows"]] == [1.0, 2.0]
    assert "| theirs | 0.3 | 0.5 | 2.00 |" in "\n".join(tables.alexnet(result))
