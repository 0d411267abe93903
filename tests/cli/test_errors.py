"""Bad input of every kind ends in one message, an exit code and no traceback."""

import io
import os
import subprocess
import sys

import click
import pytest
from cli_tools import MINI, ROOT, netspec, process

from netspec.cli import _exit
from netspec.cli._output import open_streams
from netspec.errors import NetspecError

LOOK = ["validate", "info", "plan", "graph", "show", "run"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini.yaml").write_text(MINI)
    (tmp_path / "binary.yaml").write_bytes(bytes(range(256)))
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "typo.yaml").write_text(MINI.replace("type: relu", "type: relo"))
    return tmp_path


def check(said, code, *parts):
    assert said.code == code, said
    assert all(part in said.err for part in parts), said.err
    assert "Traceback" not in said.out + said.err and "internal error" not in said.err


@pytest.mark.parametrize("command", LOOK)
@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ("gone.yaml", 2, "error: gone.yaml: no such file"),
        ("quikstart", 2, "error: quikstart: no such file (did you mean 'quickstart'?)"),
        ("folder", 1, "error: folder: is a directory, not a file"),
        ("binary.yaml", 1, "binary.yaml:"),
        ("empty.yaml", 1, "empty.yaml:1:1: the file is empty"),
        ("typo.yaml", 1, "typo.yaml:9:25: relu1: unknown layer type 'relo' (did you mean 'relu'?)"),
    ],
)
def test_a_spec_that_cannot_be_used(command, spec, code, message):
    if command == "show" and spec in ("typo.yaml", "empty.yaml"):
        assert netspec(command, spec).code == 0  # shown as it is
        command = "validate"
    check(netspec(command, spec), code, message)


@pytest.mark.parametrize("command", ["validate", "info", "plan", "graph", "show", "run"])
@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("x", "not of the form PATH=VALUE"),
        ("train.solver.learning_rat=1", "(did you mean 'learning_rate'?)"),
        ("train.batch=[", "--set"),
        ("layers.fc1.units=lots", "must be a whole number"),
    ],
)
def test_a_bad_set(command, assignment, message):
    check(netspec(command, "mini.yaml", "--set", assignment), 1, message)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["info", "mini.yaml", "--devices", "tpu:0"], 1, "unknown device 'tpu:0'"),
        (["info", "mini.yaml", "--devices", "cpu:0,cpu:1,cpu:2"], 1, "--devices names 3"),
        (["run", "mini.yaml", "--devices", "tpu:0"], 1, "unknown device 'tpu:0'"),
        (["run", "mini.yaml", "--data", "gone"], 2, "error: gone: no such folder or archive"),
        (["run", "mini.yaml", "--runner", "gone"], 1, "runner"),
        (["run", "mini.yaml", "--resume", "latest"], 1, "error: "),
        (["run", "--resume", "gone"], 2, "error: gone"),
        (["run"], 2, "name a SPEC"),
        (["run", "mini.yaml", "--epochs", "many"], 2, "'--epochs': 'many'"),
        (["eval", "gone"], 2, "error: gone"),
        (["eval", "folder"], 1, "error: folder"),
        (["eval", "mini.yaml"], 1, "error: mini.yaml"),
        (["predict", "gone", "x.jpg"], 2, "error: gone"),
        (["predict", "gone"], 2, "'IMAGE...'"),
        (["graph", "mini.yaml", "-o", "net.jpg"], 2, "must end with .svg, .mmd, .dot"),
        (["graph", "mini.yaml", "-o", "gone/net.svg"], 1, "gone/net.svg: no such file or directory"),
        (["curves", "gone"], 2, "error: gone: no such run"),
        (["curves", "folder"], 1, "error: folder: nothing to draw"),
        (["curves", "folder", "-o", "x.gif"], 2, "must end with .svg, .png or .pdf"),
        (["compare", "folder", "gone"], 2, "error: folder: no such run"),
        (["info", "mini.yaml", "--phase", "sleep"], 2, "'--phase': 'sleep'"),
        (["info", "mini.yaml", "--batch", "0"], 2, "'--batch': 0"),
    ],
)
def test_other_bad_input(args, code, message):
    """Of what click words, only what it is about."""
    check(netspec(*args), code, message)


def test_a_missing_file_is_told_by_a_process_too():
    said = process("info", "gone.yaml")
    check(said, 2, "error: gone.yaml: no such file")
    assert said.err.count("\n") == 1


def test_debug_shows_where():
    said = process("layers", "show", "gone", NETSPEC_DEBUG="1")
    assert said.code == 1 and "Traceback" in said.err and "error: unknown layer type 'gone'" in said.err


def test_a_fault_of_our_own_is_one_line_that_says_so(monkeypatch, capsys):
    monkeypatch.delenv("NETSPEC_DEBUG", raising=False)

    def fault():
        raise IndexError("beside it")

    assert _exit.guarded(fault) == 70
    assert capsys.readouterr().err == (
        "error: internal error: IndexError: beside it (a fault of netspec; NETSPEC_DEBUG=1 shows where)\n"
    )


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (NetspecError("a, and what to do"), 1, "error: a, and what to do\n"),
        (FileNotFoundError(2, "No such file or directory", "x"), 1, "error: x: no such file or directory\n"),
        (MemoryError("1 GiB asked"), 1, "error: out of memory: 1 GiB asked (a smaller --batch takes less)\n"),
        (KeyboardInterrupt(), 130, "\ninterrupted\n"),
        (click.Abort(), 130, "interrupted\n"),  # click has ended the line
        (SystemExit(3), 3, ""),
    ],
)
def test_how_errors_end(error, code, text, capsys):
    def action():
        raise error

    assert _exit.guarded(action) == code
    assert capsys.readouterr().err == text


def test_another_broken_pipe_is_told(capsys):
    def action():
        raise BrokenPipeError(32, "Broken pipe")

    assert _exit.guarded(action) == 1
    assert capsys.readouterr().err == "error: broken pipe\n"


@pytest.mark.parametrize("command", ["plan mini.yaml >&-", "validate mini.yaml >&- 2>&-", "layers >&-"])
def test_a_stream_that_is_closed_from_the_start(command):
    words = ["bash", "-c", f"{sys.executable} -m netspec {command}"]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=60)
    assert (done.stderr, done.returncode) == ("", 0)


def test_signs_that_the_terminal_lacks_are_question_marks(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    open_streams()
    print("na\u00efve", flush=True)
    assert written.getvalue() == b"na?ve\n"


def test_a_closed_pipe_is_silent(folder):
    command = f"{sys.executable} -m netspec plan alexnet --json | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(folder)},
        timeout=60,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("{\n", "", 0)
