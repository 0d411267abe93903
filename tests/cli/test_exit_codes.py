"""How commands end: by one table, which is documented, and with errors as JSON where that was asked for."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import pytest
from cli_tools import MINI, ROOT, json_commands, netspec, process

from netspec.cli import _exit
from netspec.errors import NetspecError, NoSuchFile
from netspec.exit_codes import INTERRUPTED, KINDS, table


def test_the_table_is_in_the_help_and_in_the_documents():
    shown = netspec("--help").out
    assert all(line.strip() in shown for line in table().splitlines())
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", (ROOT / "docs" / "output.md").read_text(), re.MULTILINE)
    assert [(int(code), text) for code, text in rows] == [(code, text) for code, (_, text) in KINDS.items()]
    assert {128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)} < set(KINDS)


@pytest.mark.parametrize("words", [*json_commands()], ids=" ".join)
def test_an_unknown_option_of_every_command_is_json(words):
    said = netspec(*words, "--json", "--no-such-option")
    assert (said.code, said.out) == (2, "")
    error = json.loads(said.err)["error"]
    assert (error["kind"], error["exit_code"], error["problems"]) == ("usage", 2, [])
    assert "--no-such-option" in error["message"]


def test_the_problems_of_a_spec_have_their_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "typo.yaml").write_text(MINI.replace("type: relu", "type: relo"))
    said = process("info", "typo.yaml", "--json")
    assert (said.code, said.out) == (1, "")
    error = json.loads(said.err.splitlines()[-1])["error"]
    assert error["kind"] == "input"
    (problem,) = error["problems"]
    assert (problem["file"], problem["line"], problem["column"]) == ("typo.yaml", 9, 25)
    assert "did you mean 'relu'?" in problem["message"] + str(problem["remedy"])


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (NetspecError("a"), "input", 1),
        (NoSuchFile("a: no such file"), "usage", 2),
        (FileNotFoundError(2, "No such file or directory", "x"), "input", 1),
        (IndexError("beside it"), "internal", 70),
        (KeyboardInterrupt(), "interrupted", 130),
    ],
)
def test_errors_of_each_kind(error, kind, code, capsys, monkeypatch):
    monkeypatch.delenv("NETSPEC_DEBUG", raising=False)

    def action():
        raise error

    assert _exit.guarded(action, as_json=True) == code
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert (told := json.loads(said.err)["error"])["kind"] == kind and told["exit_code"] == code


def test_the_process_of_a_run_that_failed_is_told(capsys, monkeypatch):
    """See netspec.runners.transport.opened."""
    monkeypatch.delenv("NETSPEC_DEBUG", raising=False)

    def fails():
        error = IndexError("beside it")
        error.add_note("rank 1 on here")
        raise error

    assert _exit.guarded(fails, as_json=False) == 70
    assert capsys.readouterr().err.startswith("error: rank 1 on here: internal error: IndexError: beside it")


def test_what_follows_two_dashes_is_no_option():
    said = netspec("predict", "gone", "--", "--json")
    assert said.code and said.err.startswith("error: ")


def test_an_interrupt_while_the_command_line_is_imported_is_told_as_any():
    code = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(name, path, target=None):\n"
        "        if name == 'netspec.cli._main': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted)\n"
        "from netspec.cli import main\n"
        "main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (INTERRUPTED, "", "\ninterrupted\n")
