"""Tables on terminals of any width: nothing that is shown is cut, what is left out is named."""

import os
import re
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import ROOT
from terminals import cli, on_a_terminal

from netspec.report.tables import table

WORDS = st.text("abcdefgh/0123456789._é字", max_size=30)


@pytest.mark.parametrize("columns", [200, 80, 60, 30])
def test_numbers_and_names_of_a_network_are_whole(columns):
    code, said = cli(columns, "info", "alexnet")
    said = re.sub(r"\x1b\[[0-9;]*m", "", said)
    assert code == 0
    for whole in ("conv1", "softmax_loss" if columns > 60 else "loss", "55 x 55 x 48", "71.1 MiB", "10.6 MiB"):
        assert whole in said, whole
    assert "60,965,224 parameters" in " ".join(said.split())
    assert ("not shown at this width: share" in " ".join(said.split())) == (columns < 200)


@given(st.integers(20, 120), st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=5))
def test_no_cell_is_cut(width, rows):
    made = table(["one", "two", "three"], rows, fold=["two"], drop=["three"])
    fitted, left_out = made.fitting(width)
    assert left_out in ([], ["three"]) and (not left_out or made.narrowest() > width)
    from rich.console import Console

    out = Console(width=max(width, fitted.narrowest(whole_words=False)), file=open(os.devnull, "w"))
    with out.file, out.capture() as captured:
        out.print(fitted.drawn(), crop=False)
    said = captured.get()
    for row in rows:
        for cell in (row[0], *row[2:][: 1 - len(left_out)]):
            assert cell in said
        assert Counter("".join(row[1].split())) <= Counter(said), "a folded cell has all of its characters"


COMPLAINT = "from netspec.cli._exit import complain; complain('too bad')"


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_errors_are_coloured_as_the_terminal_wishes(variables, coloured):
    code, said = on_a_terminal(80, COMPLAINT, **variables)
    assert code == 0 and said.endswith(" too bad\n") and ("\x1b" in said) == coloured


@pytest.mark.parametrize(("variables", "coloured"), [({}, False), ({"FORCE_COLOR": "1"}, True)])
def test_errors_in_a_pipe_are_plain_unless_colour_is_asked_for(variables, coloured):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-c", COMPLAINT]
    said = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stderr
    assert said.endswith(" too bad\n") and ("\x1b" in said) == coloured


def test_excerpts_of_specs_fit_the_terminal(tmp_path):
    spec = tmp_path / "wide.yaml"
    spec.write_text(f"netspec: 1\nname: {'x' * 200}\nwrong: 1\ninputs: {{{' ' * 200}image: 7}}\nlayers: []\n")
    _, said = cli(60, "validate", str(spec), NO_COLOR="1")
    excerpts = [line for line in said.splitlines() if line[5:8] == " | "]
    assert excerpts and max(map(len, excerpts)) <= 60 and any("^" in line for line in said.splitlines())
