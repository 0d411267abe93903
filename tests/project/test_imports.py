"""Imports point one way, and looking at a network loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

CORE, LAYERS, RUNNERS = (ROOT / name for name in ("netspec", "layers", "runners"))

ORDER = {
    "errors": 0, "events": 0, "contract": 1, "registry": 1, "plugin": 2, "init": 2, "schedules": 2,
    "spec": 3, "planning": 4, "ops": 4, "program": 5, "kernels": 5, "device": 6, "store": 7, "check": 8,
}  # fmt: skip
"""Rooms of the core from the ground up: a room imports rooms of its own height or below."""


def imports(file: Path) -> set[str]:
    """Modules of netspec that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name for name in found if name.split(".")[0] == "netspec"}


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def names(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", files(LAYERS), ids=names)
def test_layers_import_the_contract_and_their_private_siblings_only(file: Path) -> None:
    for name in imports(file):
        private = name.startswith("netspec.layers._") or name == "netspec.layers"
        assert private or name.split(".")[1] == "plugin", name


@pytest.mark.parametrize("file", files(RUNNERS), ids=names)
def test_runners_import_no_layer(file: Path) -> None:
    assert not {name for name in imports(file) if name.startswith("netspec.layers")}


@pytest.mark.parametrize("file", files(CORE), ids=names)
def test_the_core_names_no_layer(file: Path) -> None:
    assert not {name for name in imports(file) if name.startswith("netspec.layers")}


@pytest.mark.parametrize("file", files(CORE), ids=names)
def test_rooms_of_the_core_import_downwards(file: Path) -> None:
    room = file.relative_to(CORE).parts[0].removesuffix(".py")
    if room not in ORDER:
        return
    for name in imports(file):
        other = name.split(".")[1] if "." in name else ""
        assert ORDER.get(other, -1) <= ORDER[room], f"{room} imports {name}"


def loaded_by(*command: str) -> set[str]:
    """Top-level modules loaded by a netspec command in a process of its own."""
    code = (
        "import sys; sys.argv = ['netspec', *sys.argv[1:]]\n"
        "from netspec.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print('LOADED', *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, cwd=ROOT, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("LOADED"))
    return set(line.split()[1:])


@pytest.mark.parametrize(
    "command", [["validate", "alexnet"], ["info", "quickstart"], ["plan", "quickstart"], ["show", "quickstart"]]
)
def test_looking_at_a_network_loads_neither_numba_nor_pillow(command: list[str]) -> None:
    if command[0] == "validate":
        command = ["validate", str(ROOT / "specs" / "alexnet.yaml")]
    assert not {"numba", "PIL", "torch"} & loaded_by(*command)


def test_help_loads_nothing_that_takes_time() -> None:
    assert not {"numba", "numpy", "PIL", "rich", "jsonschema", "yaml"} & loaded_by("--help")


def test_a_layer_imported_under_two_names_is_an_error() -> None:
    code = "import netspec.layers.relu, sys; sys.path.insert(0, '.'); import layers.relu"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode
    assert "imported twice, as netspec.layers.relu and as layers.relu" in done.stderr


def test_no_file_is_longer_than_400_lines() -> None:
    for folder in (CORE, LAYERS, RUNNERS, ROOT / "tests", ROOT / "benchmarks"):
        for file in files(folder):
            assert len(file.read_text().splitlines()) <= 400, file
