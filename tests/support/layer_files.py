"""Plugins as files of Python code, and runs of a small net with a layer of theirs, for tests of the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_tools import MINI, Said, netspec

from netspec.registry import plugin_code

LAYER = """
from netspec.plugin import Elementwise, device, register
{imports}

@register("{name}")
class Own(Elementwise):
    def forward(x): return x if x > 0 else {slope} * x
    def backward(x, dy): return dy if x > 0 else {slope} * dy
"""
QUIET = ("--workers", 0, "--epochs", 1)


def write(folder: Path, **files: str) -> Path:
    """Files of Python code by the names of their modules."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def layer(name: str, imports: str = "", slope: str = "0.1") -> str:
    return LAYER.format(name=name, imports=imports, slope=slope)


def forget() -> None:
    """A new process would know no plugin."""
    for module in list(plugin_code._loaded):
        plugin_code._discard(module)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, of a user who has trusted nothing yet."""
    monkeypatch.chdir(tmp_path)
    another_user("me", monkeypatch)
    Path("mini.yaml").write_text(MINI.replace("type: relu", "type: own"))
    yield tmp_path
    forget()


def another_user(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    monkeypatch.setenv("NETSPEC_STATE_DIR", str(Path.cwd() / f"state of {name}"))


def train(*plugins: object, code: int = 0) -> Said:
    said = netspec("run", "mini.yaml", *(word for one in plugins for word in ("--plugin", one)), *QUIET)
    assert said.code == code, said
    return said


def only_run() -> Path:
    (run,) = Path("runs/mini").iterdir()
    return run


def recorded() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((only_run() / "environment.json").read_text())["plugins"]
    return found
