"""What holds the GPU benchmark together when something goes wrong: it must not waste the time of a lent card."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from cards_apart import environment, needs_stand_in, pytest_on_cards
from places import ROOT, TESTS

BENCHMARKS = ROOT / "benchmarks"
SERVER = """
import os, sys, time
sys.path.insert(0, {folder!r})
from gpu_parts.worker import serve

def answer(name, done, left):
    print("at", name, flush=True)
    if name == "hangs":
        time.sleep(600)
    if name == "dies":
        os.abort()
    if name == "fails":
        return {{"failed": "for a reason"}}
    return {{"pid": os.getpid(), "known": sorted(done), "left": left, "long": "x" * 300_000}}

serve(answer)
"""


@pytest.fixture
def parts(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from gpu_parts import outside, report, worker

    return worker, outside, report


@pytest.fixture
def asked(parts, tmp_path):
    worker = parts[0].Worker([sys.executable, "-c", SERVER.format(folder=str(BENCHMARKS))], tmp_path / "log.txt")
    yield lambda name, limit=30.0: worker.ask(name, {"before": {}}, 99.0, limit)
    worker.close()


def test_sections_are_answered_by_one_process(asked):
    first, second = asked("one"), asked("two")
    assert first["pid"] == second["pid"]
    assert (first["known"], first["left"], len(first["long"])) == (["before"], 99.0, 300_000)


def test_a_section_that_hangs_is_ended_and_says_where_it_was(asked, monkeypatch, parts):
    first = asked("one")
    found = asked("hangs", 1.0)
    assert found["failed"].startswith("no answer in 1 s") and "at hangs" in found["log"]
    assert "in answer" in found["log"]  # the stack of its thread
    assert asked("one")["pid"] != first["pid"]


def test_a_section_that_ends_its_process_costs_itself_alone(asked):
    found = asked("dies")
    assert found["failed"] == "its process ended by itself, with status -6" and "at dies" in found["log"]
    assert "pid" in asked("one")


def test_after_a_fault_the_process_is_made_anew(asked):
    first, found = asked("one"), asked("fails")
    assert found["failed"] == "for a reason" and found["log"].endswith("at fails")
    assert asked("one")["pid"] != first["pid"]


def test_the_report_shows_the_end_of_a_failed_sections_log(parts, tmp_path):
    done = {"graphs": {"failed": "no answer", "log": "line one\nline two", "seconds": 3}}
    parts[2].write(tmp_path, done)
    text = (tmp_path / "report.md").read_text()
    assert "- graph capture: no answer" in text and "line one\nline two\n```" in text
    assert json.loads((tmp_path / "report.json").read_text()) == done


def test_without_a_compiler_the_report_says_what_is_missing(parts, monkeypatch, tmp_path, capsys):
    import gpu
    from gpu_parts import machine

    monkeypatch.setattr(gpu, "_has_gpu", lambda: True)
    monkeypatch.setitem(machine.NEEDED, "no_such_module.part", "no-such-package")
    assert gpu.main([str(tmp_path)]) == 1
    assert "Python packages are missing: no-such-package" in capsys.readouterr().out
    assert "no-such-package" in json.loads((tmp_path / "report.json").read_text())["machine"]["failed"]


def test_where_no_kernel_runs_nothing_else_is_tried(parts, monkeypatch, tmp_path, capsys):
    import gpu

    asked = []

    class Worker:
        def __init__(self, command, log):
            pass

        def ask(self, name, done, left, limit):
            asked.append(name)
            return {"failed": "the compiler is broken"}

        def close(self):
            pass

    monkeypatch.setattr(gpu, "_has_gpu", lambda: True)
    monkeypatch.setattr(gpu, "_obstacle", lambda: None)
    monkeypatch.setattr(parts[0], "Worker", Worker)
    assert gpu.main([str(tmp_path)]) == 1
    assert asked == ["architecture", "graphs"]
    assert "tests on the card: not tried, as no kernel ran before" in capsys.readouterr().out
    assert gpu.main([str(tmp_path), "--sections", "ceilings", "--seconds", "0"]) == 1
    assert "ceilings: no time left" in capsys.readouterr().out


def test_each_test_on_the_card_has_a_process_of_its_own(parts, monkeypatch):
    outside = parts[1]
    answers = {
        "--collect-only": (0, "tests/gpu/t.py::a\ntests/gpu/t.py::b\ntests/gpu/t.py::c\ntests/gpu/t.py::d\n\n4 tests"),
        "tests/gpu/t.py::a": (0, "1 passed"),
        "tests/gpu/t.py::b": (1, "E   ValueError: no\n1 failed"),
        "tests/gpu/t.py::c": (0, "1 skipped"),
        "tests/gpu/t.py::d": (124, "Current thread"),
    }
    monkeypatch.setattr(outside, "_run", lambda command, _: next(answers[one] for one in command if one in answers))
    found = outside.tests(60.0, 2)
    assert found["answer"] == "1 passed, 1 failed, 1 skipped, 1 ended"
    rows = [(row["test"], row["outcome"]) for row in found["rows"]]
    assert rows == [("b", "failed"), ("c", "skipped"), ("d", "ended")]
    assert found["rows"][0]["said"] == "E   ValueError: no"
    late = outside.tests(0.5, 1)
    assert late["answer"] == "4 not run"


@pytest.mark.parametrize("marks", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
@needs_stand_in[0]
@needs_stand_in[1]
def test_sections_by_themselves(marks):
    pytest_on_cards("-m", marks, TESTS / "stand_in" / "benchmark_on_cards.py")


@needs_stand_in[0]
@needs_stand_in[1]
def test_sections_run_on_the_stand_in_for_a_card(tmp_path):
    """numba-cuda's own host code, captured graphs and all."""
    from stand_in.benchmark_on_cards import SPEC

    spec = tmp_path / "little.yaml"
    spec.write_text(SPEC)
    options = ["--one-device", spec, "--check", spec, "--sections", "architecture", "graphs", "iteration"]
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), str(tmp_path / "out"), *map(str, options)]
    done = subprocess.run(command, env=environment(1), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {name.partition(",")[0] for name in found} == {"machine", "architecture", "graphs", "iteration"}
    assert found["machine"]["answer"].startswith("stand-in H200")
    assert found["architecture"]["answer"].startswith("sm_90a loads and computes")
    assert found["graphs"]["right"] and found["iteration"]["answer"].startswith("replayed as a graph")
    text = (tmp_path / "out" / "report.md").read_text()
    assert text.splitlines()[2].startswith("- the machine: ") and "numba-cuda" in text.splitlines()[2]
    assert text.splitlines()[3].startswith("- code for this card")


def test_convolutions_are_compared_with_cudnns(parts):
    from gpu_parts import compare

    step = {"step": "conv1.forward@card", "variant": "plain", "ms": 2.0}
    rival = {"layer": "conv1", "mode": "float32", "forward_ms": 1.0}
    (row,) = compare.convolutions({"steps": {"rows": [step]}, "torch, convolutions": {"rows": [rival]}})["rows"]
    assert row["share_of_cudnn"] == 0.5
