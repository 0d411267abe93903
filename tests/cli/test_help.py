"""``--help`` helps, and answers at once: what it must not import is named, since seconds depend on the machine."""

import re

import pytest
from cli_tools import ROOT, imported_by, netspec, process

import netspec as package
from netspec.cli._main import COMMANDS

HEAVY = {"numpy", "numba", "llvmlite", "PIL", "torch"}
NAMES = [name for section in COMMANDS.values() for name in section]


def test_help_lists_every_command_with_what_it_does():
    said = netspec("--help")
    assert said.code == 0 and said.err == ""
    for section, commands in COMMANDS.items():
        assert f"{section}:" in said.out
        for name, text in commands.items():
            assert re.search(rf"^  {name} +{re.escape(text)}$", said.out, re.MULTILINE)


def test_every_command_module_is_in_the_list():
    files = {path.stem for path in (ROOT / "netspec" / "cli").glob("*.py") if not path.stem.startswith("_")}
    assert files == set(NAMES)


def test_help_imports_nothing_but_click():
    modules = imported_by("--help")
    assert not modules & (HEAVY | {"rich", "yaml", "jsonschema"})
    assert not {name for name in modules if name.startswith(("netspec.spec", "netspec.planning", "netspec.report"))}


@pytest.mark.parametrize("name", NAMES)
def test_help_of_a_command(name):
    said = netspec(name, "--help")
    assert said.code == 0
    assert said.out.startswith(f"Usage: netspec {name}")
    assert "Examples:" in said.out or name in ("devices", "doctor")


@pytest.mark.parametrize("name", ["show", "check"])
def test_help_of_layer_commands(name):
    said = netspec("layers", name, "--help")
    assert said.code == 0 and "Examples:" in said.out


def test_help_of_all_commands_imports_nothing_heavy():
    for name in ("run", "eval", "predict", "table", "features", "info", "curves"):
        assert not imported_by(name, "--help") & (HEAVY | {"rich", "yaml"})


@pytest.mark.parametrize(
    ("args", "also"),
    [
        (["validate", "quickstart"], {"numpy", "rich", "jsonschema"}),
        (["info", "quickstart"], set()),
        (["plan", "quickstart"], set()),
        (["graph", "quickstart"], {"rich"}),
        (["layers", "show", "conv"], set()),
    ],
)
def test_looking_at_a_spec_imports_no_compiler_and_no_images(args, also):
    assert not imported_by(*args) & ({"numba", "llvmlite", "PIL", "torch"} | also)


def test_version():
    assert netspec("--version").out == f"netspec, version {package.__version__}\n"


def test_python_m_netspec():
    said = process("schema")
    assert said.code == 0 and said.out.startswith("{")


def test_a_misspelt_command_is_guessed():
    said = netspec("vaildate", "x.yaml")
    assert said.code == 2
    assert "no such command 'vaildate' (did you mean 'validate'?)" in said.err


def test_no_command_shows_the_help():
    said = process()
    assert said.code == 2 and "First steps:" in said.out + said.err
