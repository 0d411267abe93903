"""Imports point one way, and looking at a network loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from places import ROOT

CORE, LAYERS, RUNNERS = (ROOT / name for name in ("netspec", "layers", "runners"))
ORDER = (
    ("measures",),
    ("errors", "events", "emulate", "exit_codes", "_paths", "_shown", "_version"),
    ("contract", "_types"),
    ("units",),
    ("machine",),
    ("registry", "rundir", "evaluation"),
    ("plugin", "init", "metrics", "schedules", "callbacks", "ops", "data"),
    ("solvers",),
    ("spec", "layers"),
    ("planning", "kernels"),
    ("program", "device", "graph", "prepare"),
    ("store", "check", "exchange"),
    ("report", "gates", "_layer"),
    ("runners",),
    ("figures",),
    ("page",),
    ("_run",),
    ("notebook",),
    ("api", "_interchange"),
    ("__init__",),
    ("cli",),
    ("__main__",),
)
"""The rooms of the package from the ground up: a room imports from itself and from those in lines above its own."""
ALIKE = {"__init__.py", "base.py", "_base.py", "build.py", "device.py", "ops.py", "shards.py"}
"""File names that mean the same thing in each room that has one."""
NAMED_BY_USERS = ("callbacks", "cli", "data/sources", "figures", "init", "layers", "metrics", "ops",
                  "runners/execution", "schedules", "solvers")  # fmt: skip
"""Folders whose files are called what a spec or a command calls them."""


class Import(NamedTuple):
    """``name`` imported at a line of a module, only for the type checker or also when the program runs."""

    module: str
    line: int
    name: str
    for_types: bool

    def __str__(self) -> str:
        return f"{modules()[self.module].relative_to(ROOT)}:{self.line} imports {self.name}"


@cache
def modules() -> dict[str, Path]:
    """Every file of the package by the name of its module."""
    found = {}
    for folder, package in ((CORE, ()), (LAYERS, ("layers",)), (RUNNERS, ("runners",))):
        for file in sorted(folder.rglob("*.py")):
            parts = ("netspec", *package, *file.relative_to(folder).with_suffix("").parts)
            found[".".join(parts).removesuffix(".__init__")] = file
    return found


@cache
def imports() -> tuple[Import, ...]:
    """All imports of netspec's own modules, wherever in a file: at its top, in functions, for types."""
    trees = {name: ast.parse(file.read_text()) for name, file in modules().items()}
    return tuple(one for name, tree in trees.items() for one in _imports(name, tree, False))


def _imports(module: str, tree: ast.AST, for_types: bool) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        inner = for_types or (isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"))
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: write imports absolutely"
            joined = [f"{node.module}.{name.name}" for name in node.names]
            names = [name if name in modules() else str(node.module) for name in joined]
        yield from (Import(module, node.lineno, name, inner) for name in names if name.partition(".")[0] == "netspec")
        yield from _imports(module, node, inner)


def room(module: str) -> str:
    """The room of a module: a folder or a file of the package, or the package itself."""
    return module.split(".")[1] if "." in module else "__init__"


def no(offenders: list[Import]) -> None:
    assert not offenders, "\n".join(map(str, offenders))


def test_layers_import_the_contract_and_their_private_siblings_only() -> None:
    inside = [one for one in imports() if room(one.module) == "layers"]
    assert len(inside) > 50
    allowed = ("netspec.plugin", "netspec.layers._")
    no([one for one in inside if not one.name.startswith(allowed) and one.name != "netspec.layers"])


def test_nobody_else_names_a_layer() -> None:
    no([one for one in imports() if room(one.name) == "layers" != room(one.module)])


def test_every_room_has_its_place_in_the_order() -> None:
    places = Counter(name for line in ORDER for name in line)
    assert set(places) == {room(module) for module in modules()} and set(places.values()) == {1}


def test_rooms_import_downwards() -> None:
    height = {name: number for number, line in enumerate(ORDER) for name in line}
    assert height.keys() >= {room(module) for module in modules()}
    pairs = [(one, room(one.module), room(one.name)) for one in imports()]
    assert len(pairs) > 1000
    no([one for one, own, other in pairs if own != other and height[other] >= height[own]])


def test_no_files_import_each_other() -> None:
    """In a circle of any length; what is imported for the type checker alone does not run."""
    left: dict[str, set[str]] = {name: set() for name in modules()}
    for one in imports():
        if not one.for_types:
            left[one.module] |= {name for name in _run_by(one.name) if not f"{one.module}.".startswith(f"{name}.")}
    while free := left.keys() - {name for name, others in left.items() if others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in free}
    while free := left.keys() - {name for others in left.values() for name in others}:
        left = {name: others for name, others in left.items() if name not in free}
    assert not left, "\n".join(left)


def _run_by(name: str) -> set[str]:
    """The modules that an import runs: the one named and the packages that it lies in."""
    parts = name.split(".")
    return {".".join(parts[: count + 1]) for count in range(len(parts))}


def test_one_file_name_means_one_thing() -> None:
    named = {file: str(file.relative_to(ROOT).parent).removeprefix("netspec/") for file in modules().values()}
    names = Counter(file.name for file, folder in named.items() if not folder.startswith(NAMED_BY_USERS))
    assert not {name for name, count in names.items() if count > 1} - ALIKE


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
    assert not {"numba", "PIL", "torch", "mpi4py"} & loaded_by(*command)


def test_help_loads_nothing_that_takes_time() -> None:
    assert not {"numba", "numpy", "PIL", "rich", "jsonschema", "yaml"} & loaded_by("--help")


def test_a_layer_imported_under_two_names_is_an_error() -> None:
    code = "import netspec.layers.relu, sys; sys.path.insert(0, '.'); import layers.relu"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode
    assert "imported twice, as netspec.layers.relu and as layers.relu" in done.stderr


def test_no_file_is_longer_than_400_lines() -> None:
    for folder in (CORE, LAYERS, RUNNERS, ROOT / "tests", ROOT / "benchmarks"):
        for file in folder.rglob("*.py"):
            assert len(file.read_text().splitlines()) <= 400, file
