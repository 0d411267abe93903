"""The notebooks of the docs: kept as they were executed, small, and executed again."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from places import ROOT, TESTS

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
MACHINE = re.compile(r"(?<![\w.<])/(?:home|root|tmp|usr|var|work|opt|Users|mnt)/|\d{4}-\d\d-\d\d_\d\d-\d\d")


def code(path: Path) -> list[dict[str, Any]]:
    """The notebook's cells of code."""
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def kinds(cell: dict[str, Any]) -> list[tuple[str, ...]]:
    """What kinds of outputs a cell has."""
    return [(one["output_type"], one.get("name", ""), *sorted(one.get("data", ()))) for one in cell["outputs"]]


def test_there_are_notebooks() -> None:
    assert {path.stem for path in NOTEBOOKS} >= {"alexnet", "layer", "photos"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_as_executed_and_says_nothing_of_the_machine(path: Path) -> None:
    cells = code(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [one for cell in cells for one in cell["outputs"] if one["output_type"] == "error"]
    assert not [one for cell in cells for one in cell["outputs"] if one.get("name") == "stderr"]
    assert not MACHINE.findall(json.dumps([cell["outputs"] for cell in cells]))
    assert path.stat().st_size < 100_000


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_gives_outputs_of_the_kinds_that_are_kept(path: Path, tmp_path: Path) -> None:
    """Their numbers may differ from those of another machine; what must hold the cells assert."""
    pytest.importorskip("nbclient", reason="needs pip install 'netspec[test]'")
    copy = Path(shutil.copy(path, tmp_path))
    scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, TESTS / "support" / "notebooks.py", copy]
    done = subprocess.run(command, env={**os.environ, "PATH": scripts}, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [*map(kinds, code(copy))] == [*map(kinds, code(path))]
    assert [cell["source"] for cell in code(copy)] == [cell["source"] for cell in code(path)]
