"""What the README and the docs show is true: code runs, commands exist, links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from cli_tools import netspec as in_this_process
from cuda_checks import CUDA_CHECKS
from PIL import Image
from places import ROOT

from netspec import plan
from netspec.cli._main import cli
from netspec.graph import draw
from netspec.planning import check
from netspec.spec import load

ABOVE = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")]
PAGES = [*ABOVE, *sorted((ROOT / "docs").rglob("*.md"))]
HOW_TO = sorted((ROOT / "docs" / "howto").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# (\w+\.(?:py|yaml))\n(.*)", re.DOTALL)
INLINE = re.compile(r"`(netspec [a-z](?![^`]*KIND)[^`]* [^`]+)`")
COMMAND = re.compile(r"^(?:    |\$ )*(netspec (?!:).*?)(?:  .*|\s#.*)?$", re.MULTILINE)


def files(page: Path) -> dict[str, str]:
    """The files that a page shows: blocks whose first line is a comment with a file name."""
    named = [NAMED.match(text) for _, text in BLOCK.findall(page.read_text(encoding="utf-8"))]
    return {match[1]: match[2] for match in named if match}


def commands(page: Path) -> list[list[str]]:
    """The netspec commands that a page shows in blocks or names in a sentence, as words."""
    text = page.read_text(encoding="utf-8")
    shell = [body.replace("\\\n", " ") for language, body in BLOCK.findall(text) if language in ("sh", "console")]
    indented = "\n".join(line for line in text.splitlines() if line.startswith("    "))
    named = "\n".join(" ".join(words.split()) for words in INLINE.findall(BLOCK.sub("", text)))
    return [shlex.split(line) for body in (*shell, BLOCK.sub("", indented), named) for line in COMMAND.findall(body)]


def write_files(page: Path, folder: Path) -> None:
    for name, text in files(page).items():
        (folder / name).write_text(text, encoding="utf-8")


def python(*words: str, cwd: Path, **environment: str) -> str:
    """What a Python process prints; it must succeed."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path, **environment}
    done = subprocess.run([sys.executable, *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def netspec(*words: str, cwd: Path, **environment: str) -> str:
    """What a netspec command prints."""
    return python("-m", "netspec", *words, cwd=cwd, **environment)


def printed_by(program: str, *words: str, cwd: Path) -> str:
    """What a command of a page prints; netspec's in this process, in which the kernels of others are loaded."""
    if program == "python":
        return python(*words, cwd=cwd)
    said = in_this_process(*words)
    assert said.code == 0, said
    return said.out


def test_readme_shows_the_spec_as_it_is() -> None:
    page = PAGES[0].read_text(encoding="utf-8")
    shown = re.findall(r"<!-- (specs/\S+) -->\n```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert shown
    for path, text in shown:
        assert text == (ROOT / path).read_text(encoding="utf-8")


def test_readme_plugins_pass_the_contract_suite_and_train(tmp_path: Path) -> None:
    write_files(PAGES[0], tmp_path)
    plugins = sorted(path.name for path in tmp_path.glob("*.py"))
    assert len(plugins) == 2
    lines = [words for words in commands(PAGES[0]) if set(plugins) & set(words)]
    assert [words[1] for words in lines] == ["layers", "run"]
    told = netspec(*lines[0][1:], cwd=tmp_path)  # it exits with 1 when a check fails
    assert told.count("  passed   cuda  " if CUDA_CHECKS == "passed" else " left out   cuda, ") == 2
    told = netspec(*lines[1][1:], cwd=tmp_path)
    (error,) = re.findall(r"^val: top-1 error ([0-9.]+) %", told, re.MULTILINE)
    assert float(error) < 50  # ten classes: 90 % where nothing is learned


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.name)
def test_specs_in_the_docs_are_valid(page: Path, tmp_path: Path) -> None:
    write_files(page, tmp_path)
    for name in (name for name in files(page) if name.endswith(".yaml")):
        check(load(tmp_path / name))


@pytest.mark.slow
def test_plugins_in_the_docs_pass_the_contract_suite(tmp_path: Path) -> None:
    page = ROOT / "docs" / "plugins.md"
    write_files(page, tmp_path)
    lines = [words for words in commands(page) if set(files(page)) & set(words)]
    assert len(lines) == 21
    for words in lines:
        netspec(*words[1:], cwd=tmp_path)


@pytest.mark.slow
def test_the_python_functions_in_the_docs_run(tmp_path: Path) -> None:
    page = ROOT / "docs" / "training.md"
    (block,) = [text for language, text in BLOCK.findall(page.read_text(encoding="utf-8")) if language == "python"]
    Image.new("RGB", (64, 48), (30, 90, 200)).save(tmp_path / "photo.jpg")
    told = python("-c", block, cwd=tmp_path)
    assert "RunFinished(status='finished'" in told


def sessions(page: Path) -> list[tuple[list[str], list[str]]]:
    """The commands of a page's console blocks as words, each with the lines that it is said to print."""
    blocks = [text for language, text in BLOCK.findall(page.read_text(encoding="utf-8")) if language == "console"]
    parts = [part.splitlines() for text in blocks for part in re.split(r"^\$ ", text, flags=re.MULTILINE) if part]
    return [(shlex.split(command), lines) for command, *lines in parts]


def expanded(words: list[str], folder: Path) -> list[str]:
    """Words of a command with what a shell makes of patterns: the files in the folder that fit, where any do."""
    found = [sorted(folder.glob(word)) if "*" in word and "=" not in word else [] for word in words]
    return [str(one) for word, paths in zip(words, found, strict=True) for one in _relative(paths, folder) or [word]]


def _relative(paths: list[Path], folder: Path) -> list[Path]:
    return [path.relative_to(folder) for path in paths]


ASKED = [page for page in PAGES if sessions(page)]
assert {page.stem for page in ASKED} >= {"questions", "tutorial", *(page.stem for page in HOW_TO)}
TAKE_LONG = {"compare", "evaluate", "layer-tutorial", "paper-figures", "tutorial"}
"""Pages that train several times, or check many layers."""


def marked(page: Path) -> Any:
    return pytest.param(page, marks=pytest.mark.slow if page.stem in TAKE_LONG else ())


@pytest.mark.parametrize("page", [*map(marked, ASKED)], ids=[page.stem for page in ASKED])
def test_commands_print_what_a_page_shows(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = dict[str, list[str]]()
    write_files(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    for words, lines in sessions(page):
        command = expanded(words, tmp_path)
        key = shlex.join(command)
        if key not in known:
            known[key] = [line.rstrip() for line in printed_by(*command, cwd=tmp_path).splitlines()]
        printed = iter(known[key])
        for line in lines:
            pattern = re.compile(re.escape(line.rstrip()).replace(re.escape("..."), ".*"))
            assert line == "..." or any(map(pattern.fullmatch, printed)), (key, line)


SHOWN = [(page.name, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(("page", "words"), SHOWN, ids=[" ".join(words)[:60] for _, words in SHOWN])
def test_commands_exist(page: str, words: list[str]) -> None:
    command: click.Command = cli
    rest = words[1:]
    context = click.Context(command)
    while isinstance(command, click.Group) and rest and (inner := command.get_command(context, rest[0])):
        command, rest = inner, rest[1:]
    assert command is not cli or rest[0].startswith("-"), f"{page}: no such command: {words}"
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition("=")[0] for word in rest if word.startswith("-")}
    assert given <= known | {"--help", "-h"}, f"{page}: no such option: {words}"


def test_pictures_are_up_to_date() -> None:
    assert (ROOT / "docs" / "alexnet.svg").read_text(encoding="utf-8") == draw(plan(load("alexnet")), "svg")
