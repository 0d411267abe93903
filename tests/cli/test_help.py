"""``--help`` helps, and answers at once: what it must not import is named, since seconds depend on the machine."""

import re

import pytest
from cli_tools import ROOT, imported_by, netspec, process

import netspec as package
from netspec.cli._main import COMMANDS, MEANT

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
    stems = (path.stem for path in (ROOT / "netspec" / "cli").glob("*.py"))
    assert {stem.rstrip("_").replace("_", "-") for stem in stems if not stem.startswith("_")} == set(NAMES)


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
    assert netspec("help", name) == said


def test_all_help_fits_a_terminal_of_80_columns():
    words = [(name,) for name in NAMES]
    for name in ("layers", "data", "figure"):
        listed = re.split(r"^(?:Commands|Kinds):$", netspec(name, "--help").out, flags=re.MULTILINE)[1]
        words += [(name, one) for one in re.findall(r"^  ([a-z-]+)  ", listed, re.MULTILINE)]
    lines = [(word, line) for word in words for line in netspec("help", *word).out.splitlines()]
    assert [(word, line) for word, line in lines if len(line) > 80] == []


@pytest.mark.parametrize("name", ["show", "check"])
def test_help_of_layer_commands(name):
    said = netspec("layers", name, "--help")
    assert said.code == 0 and "Examples:" in said.out
    assert netspec("help", "layers", name) == said


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


@pytest.mark.parametrize(
    ("word", "command"),
    [("train", "run"), ("evaluate", "eval"), ("classify", "predict"), ("plot", "curves"), ("ls", "runs")],
)
def test_what_other_programs_call_a_command(word, command):
    for args in ([word, "x"], [word.upper()], ["help", word]):
        said = netspec(*args)
        assert said.code == 2 and f"(did you mean '{command}'?)" in said.err, said


def test_words_for_commands_are_no_commands_and_lead_to_some():
    assert not set(MEANT) & set(NAMES)
    planned = {"new"}  # suggested as soon as it is there
    for word, way in MEANT.items():
        assert way.split()[0] in {*NAMES, *planned, "--version"}
        guess = re.search(r"did you mean '(.+?)'", netspec(word).err)
        assert (guess[1] if guess else None) == (None if way in planned - set(NAMES) else way), word


@pytest.mark.parametrize("word", ["compile", "evaluator", "remove", "x", "", "trace", "repeat"])
def test_a_word_that_is_near_to_nothing_is_not_guessed(word):
    said = netspec(word)
    assert said.code == 2 and f"no such command '{word}' (netspec help lists them)" in said.err


@pytest.mark.parametrize(("word", "command"), [("ifno", "info"), ("validat", "validate"), ("alidate", "validate")])
def test_a_slip_of_the_keys_is_guessed(word, command):
    assert f"(did you mean '{command}'?)" in netspec(word).err


def test_help_is_that_of_the_list_and_of_commands_of_commands():
    assert netspec("help") == netspec("--help")
    assert netspec("help", "figure", "filters") == netspec("figure", "filters", "--help")
    assert "(netspec help layers lists them)" in netspec("help", "layers", "zzz").err
    said = netspec("help", "run", "more")
    assert said.code == 2 and "netspec run has no commands of its own" in said.err
