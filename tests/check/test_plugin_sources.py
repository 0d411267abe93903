"""Layers that come from elsewhere than a file: a notebook's cells, standard input."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from cli_tools import MINI, process
from several_processes import needs_mpi

from netspec.errors import NetspecError
from netspec.registry import load_plugin, plugin_files

CELL = '''
import numpy as np
import netspec
from netspec.check import run as check
from netspec.plugin import {base}, learning_rate, number, register

@register("cell_leak")
class CellLeak(Elementwise):
    """y = x where x is positive, else slope * x"""
    attrs = {{"slope": number("slope below zero", default={slope})}}
    def forward(x, slope):
        return x if x > 0 else slope * x
    def backward(x, dy, slope):
        return dy if x > 0 else slope * dy
'''
SOLVER = '''
@register("cell_signs")
class CellSigns(Solver):
    """w = w - rate sign(g)"""
    attrs = {"learning_rate": learning_rate(0.001)}
    def update(w, g, rate):
        return w - rate * ((g > 0) - (g < 0))
'''
SHELL = '''
import linecache
import sys

for number, cell in enumerate(sys.argv[1:]):
    name = f"<cell {number}>"
    linecache.cache[name] = (len(cell), None, cell.splitlines(True), name)  # as IPython keeps the text of its cells
    exec(compile(cell, name, "exec"), globals())
'''


def cells(*texts, shell=SHELL, cwd):
    """What cells of a notebook print, each after the one before."""
    return subprocess.run([sys.executable, "-c", shell, *texts], capture_output=True, text=True, cwd=cwd)


def test_a_class_of_a_notebook_s_cell_runs_and_its_cell_can_be_run_again(tmp_path):
    show = "print(netspec.layer('cell_leak')([[-4.0]]).outputs['y'].item())"
    first, again = (CELL.format(base="Elementwise", slope=slope) for slope in (0.5, 0.25))
    done = cells(first, show, again, show, cwd=tmp_path)
    assert done.stdout.split() == ["-2.0", "-1.0"], done.stderr


def test_a_notebook_s_layer_and_solver_are_checked_and_train(tmp_path):
    (tmp_path / "mini.yaml").write_text(MINI.replace("type: relu", "type: cell_leak"))
    use = """
assert not [one for one in check("cell_leak", ("cpu",)) if one.status == "failed"]
run = netspec.run("mini.yaml", overrides="train.solver=cell_signs", iterations=2, progress=False)
print(run.status, run.activations(np.zeros((2, *run.model.shape), np.uint8), "relu1").shape[0])
from netspec.report.layer_page import page
print(page("cell_leak").facts["file"], page("cell_leak").text)
"""
    done = cells(CELL.format(base="Elementwise, Solver", slope=0.5) + SOLVER, use, cwd=tmp_path)
    expected = ["finished 2", "a notebook y = x where x is positive, else slope * x"]
    assert done.stdout.splitlines() == expected, done.stderr


def test_a_class_whose_text_is_nowhere_says_what_to_do(tmp_path):
    use = "netspec.layer('cell_leak')([[-4.0]])"
    shell = "import sys\nfor cell in sys.argv[1:]:\n    exec(cell, globals())"
    done = cells(CELL.format(base="Elementwise", slope=0.5), use, shell=shell, cwd=tmp_path)
    assert "the source of CellLeak.forward cannot be read" in done.stderr
    assert "write it in a file, or in a cell of a notebook" in done.stderr


PLUGIN = '''
"""Twice."""
from netspec.plugin import Elementwise, register

@register("piped")
class Piped(Elementwise):
    """y = 2 x"""
    def forward(x):
        return 2.0 * x
    def backward(dy):
        return 2.0 * dy
'''


@pytest.fixture(autouse=True)
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def piped(*words, text=PLUGIN):
    return subprocess.run(
        [sys.executable, "-m", "netspec", *words], input=text, capture_output=True, text=True, timeout=300
    )


def test_a_plugin_from_standard_input_is_tried_and_shown():
    done = piped("layers", "try", "-", "--input", "1x1", "--json")
    arrays = {one["name"]: one["first"][0] for one in json.loads(done.stdout)["arrays"]}
    assert arrays["y"] == pytest.approx(2 * arrays["x"]) and arrays["d_x"] == 2
    assert piped("layers", "show", "-").stdout.startswith("piped: Twice.")


def test_a_run_keeps_what_came_through_standard_input(tmp_path):
    (tmp_path / "mini.yaml").write_text(MINI.replace("type: relu", "type: piped"))
    done = piped("run", "mini.yaml", "--plugin", "-", "--iterations", "1")
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.glob("runs/mini/*")
    (copy,) = run.rglob("*.py")
    assert (copy.name, copy.read_text()) == ("stdin.py", PLUGIN)
    again = process("run", "--resume", run, "--iterations", "2")
    assert again.code == 0 and "stdin.py" in again.out + again.err, again


@needs_mpi
@pytest.mark.parametrize("given", [("--plugin", "-"), ("--plugin=-",)])
def test_processes_share_what_came_through_standard_input(given, tmp_path):
    text = MINI.replace("type: relu", "type: piped").replace("\ninputs:", "\nreplicas: 2\ninputs:")
    (tmp_path / "mini.yaml").write_text(text)
    done = piped("run", "mini.yaml", *given, "--iterations", "1", "--devices", "cpu", "--processes", "2")
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.glob("runs/mini/*")
    assert [file.name for file in run.rglob("*.py")] == ["stdin.py"]


def test_nothing_on_standard_input_is_told():
    done = piped("layers", "check", "-", text="\n")
    assert done.returncode == 2 and "'-' stands for a plugin on standard input, and nothing came" in done.stderr


def test_a_fault_of_one_is_told_by_its_line():
    done = piped("layers", "check", "-", text="import netspec\n\nnonsense(\n")
    assert done.returncode == 1 and "stdin.py: cannot be imported: SyntaxError" in done.stderr
    assert "line 3" in done.stderr and done.stderr.count("\n") == 1


def test_a_file_that_registers_nothing_is_not_kept(tmp_path):
    (tmp_path / "odd.py").write_text("x = 1\n")
    with pytest.raises(NetspecError, match="registers no layer"):
        load_plugin("odd.py")
    assert str(tmp_path / "odd.py") not in plugin_files()
