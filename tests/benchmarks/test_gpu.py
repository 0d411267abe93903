"""What holds the GPU benchmark together when something goes wrong: it must not waste the time of a lent card."""

from __future__ import annotations

import json
import os
import signal
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


MODE = """
import os, sys
sys.path.insert(0, {folder!r})
from gpu_parts.worker import serve

def answer(name, done, left):
    if name == "compile":
        os.read(os.open({gate!r}, os.O_RDONLY), 1)  # until a test lets it go on
    return {{"failed": "no such mode"}} if sys.argv[2] == "bad" else {{name: sys.argv[1:], "pid": os.getpid()}}

serve(answer)
"""


@pytest.fixture
def rivals(parts, monkeypatch, tmp_path):
    """Modes by name, and what lets the next one compile."""
    from gpu_parts import rivals

    gate, program = tmp_path / "gate", tmp_path / "mode.py"
    os.mkfifo(gate)
    program.write_text(MODE.format(folder=str(BENCHMARKS), gate=str(gate)))
    monkeypatch.setattr(rivals, "PROGRAM", program)
    started = rivals.Rivals({"first": rivals.Mode("good", 2), "second": rivals.Mode("bad", 2)}, tmp_path / "log.txt")
    yield started, lambda: gate.write_text("x")
    started.close()


def test_modes_compile_one_after_the_other_and_are_timed_when_asked(rivals):
    modes, compile_next = rivals
    assert modes.measure("first", 0.0)["failed"].startswith("not compiled")
    compile_next()
    found = modes.measure("first", 30.0)
    assert found["compile"] == found["time"] == ["cuda", "good", "2"]
    compile_next()
    assert modes.measure("second", 30.0)["failed"] == "no such mode"


def test_nothing_compiles_while_something_is_timed(rivals):
    modes, compile_next = rivals
    with modes.paused():
        process = modes._workers["first"]._process
        assert process is None or os.waitid(os.P_PID, process.pid, os.WSTOPPED).si_status == signal.SIGSTOP
        assert modes._workers["second"]._process is None
    compile_next()
    assert "time" in modes.measure("first", 30.0)


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
    assert gpu.main([str(tmp_path), "--sections", "ceilings", "--minutes", "0"]) == 1
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
    found = outside.tests(60.0)
    assert found["answer"] == "1 passed, 1 failed, 1 skipped, 1 ended"
    rows = [(row["test"], row["outcome"]) for row in found["rows"]]
    assert rows == [("b", "failed"), ("c", "skipped"), ("d", "ended")]
    assert found["rows"][0]["said"] == "E   ValueError: no"
    late = outside.tests(0.5)
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

    ours = {"steps": {"precision": "float32", "rows": [{"step": "conv1.forward@card", "variant": "plain", "ms": 2.0}]}}
    theirs = {"precision": "float32", "rows": [{"layer": "conv1", "forward_ms": 1.0}]}
    found = compare.convolutions({**ours, "torch, convolutions, float32": theirs})
    assert found["rows"][0]["share_of_cudnn"] == 0.5
    assert found["answer"] == "float32: 0.50 to 0.50 times as fast as cuDNN"


def test_the_best_of_each_batch_size_and_precision_are_compared(parts):
    from gpu_parts import compare

    def section(rate, batch=128, precision="bf16", **more):
        return {"images_per_second": rate, "batch": batch, "precision": precision, **more}

    ours = {"training": section(30.0, network="net"), "tuned": section(40.0, network="net")}
    theirs = {"torch, bf16": section(20.0), "torch, tf32": section(50.0, precision="tf32"), "torch, x": section(10.0)}
    found = compare.training({**ours, **theirs, "large": section(9.0, 1024, network="net")}, "net")
    assert found["answer"] == "bf16, batch 128: 40 images a second, 2.00 times PyTorch's best"
    assert [row["batch"] for row in found["rows"]] == [128, 1024]


def test_the_sanitizer_says_which_tests_it_has_seen(parts, monkeypatch):
    outside = parts[1]
    text = "========= COMPUTE-SANITIZER\n.....\n5 passed, 57 deselected in 9s\n========= ERROR SUMMARY: 0 errors\n"
    monkeypatch.setattr(outside.shutil, "which", lambda *_, **__: "compute-sanitizer")
    monkeypatch.setattr(outside, "_run", lambda *_: (0, text))
    found = outside.sanitizer(10.0)
    assert found["answer"] == "ERROR SUMMARY: 0 errors; 5 passed, 57 deselected in 9s" and not found["said"]
    monkeypatch.setattr(outside, "_run", lambda *_: (124, "========= COMPUTE-SANITIZER\n"))
    assert outside.sanitizer(10.0)["answer"] == "COMPUTE-SANITIZER; no test ended (ended after 10 s)"
