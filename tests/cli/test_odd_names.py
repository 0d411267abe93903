"""Folders and files whose names are not UTF-8: every command takes them, and what it prints can be typed."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from cli_tools import MINI, netspec, process, python
from PIL import Image

ODD = os.fsdecode(b"caf\xe9")
"""A name in Latin-1."""
PLUGIN = '''
from netspec.plugin import Elementwise, register

@register("doubled")
class Doubled(Elementwise):
    """y = 2x"""
    def forward(x): return 2 * x
    def backward(dy): return 2 * dy
'''
OPTIONS = ("--workers", 0, "--devices", "cpu:0,cpu:1", "--iterations")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A spec, a plugin and images, in folders and with names of that kind."""
    made = tmp_path_factory.mktemp("names") / ODD
    try:
        made.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    (made / f"{ODD}.yaml").write_text(MINI.replace("type: relu", "type: doubled"))
    (made / f"{ODD}.py").write_text(PLUGIN)
    for split, name in ((split, name) for split in ("train", "val") for name in (ODD, "b", "c")):
        place = made / f"images {ODD}" / split / name
        place.mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8), (9 * number, 80, 160)).save(place / f"{number}.png")
    (made / f"images {ODD}" / "val" / "b" / f"{ODD}.png").write_bytes(b"broken")
    return made


@pytest.fixture(scope="module")
def run(folder):
    """A run of all that; and what was printed."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        spec = (f"{ODD}.yaml", "--plugin", f"{ODD}.py", "--data", f"images {ODD}", "--out", f"out {ODD}")
        said = process("run", *spec, "--trace", f"{ODD}.json", "--log", "tensorboard", *OPTIONS, 2)
        assert said.code == 0, said
        yield next((folder / f"out {ODD}" / "mini").iterdir()), said
    finally:
        os.chdir(before)


def test_a_run_leaves_files_that_can_be_read(run, folder):
    made, said = run
    assert "images caf\\xe9 (folder)" in said.out and not said.err
    assert "images caf\\xe9 (folder)" in (made / "log.txt").read_text("utf-8")
    assert "b/caf\\xe9.png: " in (made / "broken-images.txt").read_text("utf-8")
    assert json.loads((folder / f"{ODD}.json").read_text())["traceEvents"]
    for file in ("spec.resolved.yaml", "classes.txt", "metrics.jsonl", "environment.json", "history.jsonl"):
        (made / file).read_text("utf-8")


@pytest.mark.skipif(not shutil.which("bash"), reason="types what is printed into bash")
def test_what_is_printed_can_be_typed(run, folder):
    hints = re.findall(r"^  netspec (.+?)(?:   .*)?$", run[1].out, re.MULTILINE)
    image = "$'images caf\\xe9/train/caf\\xe9/1.png'"
    assert [hint.split()[0] for hint in hints] == ["eval", "predict", "run"]
    for hint in hints:
        command = f"{sys.executable} -m netspec {hint.replace('IMAGE...', image)} --plugin $'caf\\xe9.py'"
        done = subprocess.run(["bash", "-c", command], capture_output=True, cwd=folder)
        assert (done.returncode, done.stderr) == (0, b""), command


def test_a_resumed_run_takes_other_settings(run):
    more = ("--plugin", f"{ODD}.py", *OPTIONS, 4, "--set", "train.solver.momentum=0.5")
    said = netspec("run", "--resume", run[0], *more)
    assert said.code == 0, said


def test_runs_of_such_names_are_shown(run, folder):
    made, _ = run
    (found,) = json.loads(netspec("runs", "--out", made.parent.parent, "--json").out)
    assert os.fsencode(found["folder"]) == os.fsencode(made)
    said = process("runs", "--out", made.parent.parent)
    assert said.code == 0 and "out caf\\xe9/mini/" in said.out.replace("\n", "")
    for command in (("curves", made), ("curves", made, "-o", f"{ODD}.png"), ("compare", made, made)):
        assert process(*command).code == 0
    assert netspec("figure", "curves", made, "--label", ODD, "-o", f"{ODD}.svg").code == 0
    assert "caf\\xe9" in (folder / f"{ODD}.svg").read_text("utf-8")


NOT_THERE = [
    ("run", ODD), ("run", "--resume", ODD), ("run", "quickstart", "--data", ODD),
    ("run", "quickstart", "--plugin", ODD), ("run", "quickstart", "--trace", f"{ODD}/x"),
    ("run", "quickstart", "--devices", ODD), ("eval", ODD), (ODD,), ("predict", ODD, ODD), ("compare", ODD, ODD),
    ("curves", ODD), ("validate", ODD), ("show", ODD),
]  # fmt: skip
ONE_BY_ONE = f"""
import sys
from netspec.cli._main import outcome
from netspec.cli._output import open_streams

open_streams()
for words in {NOT_THERE!a}:
    print("code", outcome(list(words)), file=sys.stderr, flush=True)
"""


def test_such_names_that_are_not_there_are_told(folder):
    said = python("-c", ONE_BY_ONE)
    *told, rest = re.split(r"code (\d)\n", said.err)
    assert said.code == 0 and not rest and len(told) == 2 * len(NOT_THERE), said
    for command, message, code in zip(NOT_THERE, told[::2], told[1::2], strict=True):
        assert code in "12" and "caf\\xe9" in message.replace("\\udce9", "\\xe9"), (command, message)
        assert "Traceback" not in message and "internal error" not in message
