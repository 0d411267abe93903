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


@pytest.fixture
def alexnet(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import alexnet_cpu

    return alexnet_cpu


class Done:
    """A system that has run."""

    start = {"setup": 1.0, "first": 2.0}
    peak = 2.0**30

    def __init__(self, name: str, times: list[float]) -> None:
        self.name, self.times = name, times
        self.answers = [{"seconds": t, "cpu": 1.5 * t, "flops": 2e11, "read": 2e10} for t in times]


@pytest.mark.parametrize("what", ["training", "inference"])
def test_rows_of_all_rounds(alexnet, what: str) -> None:
    import tables

    arguments = alexnet.argparse.Namespace(what=what, batch=1, threads=2, rounds=2, iterations=1)
    systems = [Done("ours", [1.0, 2.0]), Done("theirs", [2.0, 5.0]), Done("machine", [1.0, 1.0])]
    result = alexnet.report(systems, arguments, 0.5)
    assert [row["ratios"] for row in result["rows"]] == [{"ours": [1.0, 1.0]}, {"ours": [2.0, 2.5]}]
    text = "\n".join(tables.alexnet(result))
    assert "| theirs | 0.3 | 0.5 | 2.25 (2.00-2.50) | 3 |" in text and "load average 0.5 before" in text


def test_ratios_of_both_precisions(alexnet) -> None:
    import tables

    arguments = alexnet.argparse.Namespace(what="inference", batch=32, threads=2, rounds=1, iterations=1)
    names = {"netspec": 4.0, "netspec bf16": 2.0, "torch bf16 eager": 6.0, "machine": 1.0}
    result = alexnet.report([Done(name, [time]) for name, time in names.items()], arguments)
    head, _, *rows = (line for line in tables.alexnet(result) if line.startswith("|"))
    assert "| netspec is faster by | netspec bf16 is faster by |" in head
    assert rows[2].startswith("| torch bf16 eager | 5.3 | 5.3 | 1.50 | 3.00 |")


FLAGS = {
    "avx2": "fpu avx2",
    "amd": "fpu avx2 avx512f avx512_bf16",
    "intel": "fpu avx2 avx512f avx512_bf16 amx_bf16 amx_tile",
}


@pytest.mark.parametrize("cpu", FLAGS)
@pytest.mark.parametrize("what", ["training", "inference"])
@pytest.mark.parametrize("quick", [False, True])
def test_rivals_in_bf16_where_it_may_pay(alexnet, monkeypatch, cpu: str, what: str, quick: bool) -> None:
    monkeypatch.setattr(alexnet, "_cpuinfo", lambda name: [FLAGS[cpu]] * 2 if name == "flags" else ["An X"] * 2)
    systems = alexnet.chosen(alexnet.argparse.Namespace(systems=None, what=what, quick=quick))
    assert {"netspec", "torch compiled, fused SGD"} <= set(systems)
    in_bf16 = {name for name in systems if "bf16" in name}
    assert bool(in_bf16) == (cpu != "avx2" or what == "inference")
    if in_bf16:
        assert {"netspec bf16", "torch bf16 compiled, fused SGD"} <= in_bf16
    if not quick:
        assert ("torch bf16 weights, compiled" in systems) == (what == "inference")
        assert ("torch fused SGD" in systems) == (what == "training")


def test_what_the_cpu_has_is_told(alexnet, monkeypatch) -> None:
    import tables

    monkeypatch.setattr(alexnet, "_cpuinfo", lambda name: [FLAGS["amd"]] if name == "flags" else ["An X"])
    assert alexnet.machine()["features"] == ["avx2", "avx512f", "avx512_bf16"]
    assert "cores of An X (avx2, avx512f, avx512_bf16)" in tables.measured({"machine": alexnet.machine()})[0]


def test_processes_beside_one(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import processes_cpu
    import tables

    first, second = processes_cpu.Group.__new__(processes_cpu.Group), processes_cpu.Group.__new__(processes_cpu.Group)
    first.setting, second.setting = processes_cpu.SETTINGS["two devices"], processes_cpu.SETTINGS["four replicas"]
    first.answers = [{"seconds": time, "cpu": 2.0} for time in (1.0, 2.0)]
    second.answers = [{"seconds": 5.0, "cpu": 10.0, "exchange": 0.3, "addition": 0.1} for _ in range(2)]
    rows = [processes_cpu._row("one", first, first), processes_cpu._row("four", second, first)]
    machine = {"cpu": "a CPU", "cores": 2, "features": []}
    starts = {"one": [1.0, 2.0], "two": [3.0]}
    result = {"machine": machine, "rounds": 2, "load": 0.5, "rows": rows, "starts": starts}
    text = "\n".join(tables.processes(result))
    assert "| four | 102.4 | 1.20 (0.80-1.60) | 0.80 | 300 | 3.00 (3.00-3.00) |" in text
    assert "| start, two processes | 3.0 s (3.0-3.0) |" in text
