"""Callbacks: named by --log, with settings, shipped or a plugin's; and their contract suite."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_tools import MINI, netspec
from layer_files import forget
from places import ROOT
from training_runs import spec, train

from netspec.api import run
from netspec.check import checked
from netspec.errors import NetspecError, SpecError
from netspec.registry import load_plugin

__all__ = ["spec"]
(TABLE,) = re.findall(r"```python\n(# table.py\n.*?)```", (ROOT / "docs" / "plugins.md").read_text(), re.DOTALL)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    Path("mini.yaml").write_text(MINI)
    Path("table.py").write_text(TABLE)
    yield
    forget()


def lines(folder: Path) -> list[list[str]]:
    return [line.split(",")[:2] for line in (folder / "table.csv").read_text().splitlines()]


def test_the_command_line_names_them_with_settings_as_often_as_one_likes() -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    log = ("--log", "{type: table, every: 2}", "--log", "tensorboard")
    assert netspec("run", "mini.yaml", "--plugin", "table.py", *log, "--workers", 0, "--iterations", 5).code == 0
    (folder,) = Path("runs/mini").iterdir()
    assert lines(folder) == [["2", "train"], ["4", "train"], ["5", "val"]]
    assert list((folder / "tensorboard").iterdir())
    again = ("run", "--resume", folder, "--plugin", "table.py", "--log", "table", "--workers", 0, "--iterations", 12)
    assert netspec(*again).code == 0
    assert [row for row in lines(folder)[3:] if row[1] == "train"] == []  # every 100


def test_from_python_by_name_and_as_a_map(spec) -> None:
    for log in ("table", [{"type": "table", "every": 5}]):
        result, _ = train(spec, plugins=["table.py"], log=log)
        assert ["15", "val"] in lines(result.folder)
    assert ["5", "train"] in lines(result.folder)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("tensorbord", "--log:1:7: unknown callback 'tensorbord' (did you mean 'tensorboard'?)"),
        ("{type: table, evry: 5}", "--log:1:21: unknown key 'evry' in '--log' (did you mean 'every'?)"),
        ("{type: table, every: 0}", "'--log.every' must be"),
        ("{every: 5}", "'--log' needs a 'type'"),
        ("[table]", "'--log' must be a map"),
        ("{type: ", "--log:1:"),
        ("", "'--log' needs a 'type'"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_made(given: str, message: str) -> None:
    said = netspec("run", "mini.yaml", "--plugin", "table.py", "--log", given)
    assert said.code == 1 and message in said.err, said
    assert not Path("runs").exists()


def test_one_that_cannot_begin_ends_the_run_before_it_trains(spec) -> None:
    Path("table.py").write_text(TABLE.replace('"table.csv", "a"', '"no" / "table.csv", "a"'))
    with pytest.raises(NetspecError, match=r"cannot write .*table.csv: No such file or directory"):
        train(spec, plugins=["table.py"], log="table")


@pytest.mark.parametrize("name", ["tensorboard", "table"])
def test_contract(name: str) -> None:
    if name == "tensorboard":
        pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    load_plugin("table.py")
    wrong = {result.name: result.message for result in checked(f"callbacks.{name}") if result.status != "passed"}
    assert wrong == {}


WRONG = {
    "docs": ('"How many iterations from one line to the next."', '""', "attribute 'every' has no description"),
    "schema": ('({}, {"every": 1})', '({}, {"every": 0})', "does not fit the attribute 'every'"),
    "run": ("event.loss])", "event.loss, event.errors['top1']])", "KeyError at EvaluationDone("),
    "resumed": ('"a", newline', '"x", newline', "something else is there"),
    "not_finite": ("event.loss])", "int(event.loss)])", "ValueError at EvaluationDone("),
    "later_events": ("        if isinstance(event, IterationDone)", "        getattr(events, type(event).__name__)\n"
                     "        if isinstance(event, IterationDone)", "no attribute"),
    "unchanged": ("        if isinstance(event, EvaluationDone):", "        if isinstance(event, EvaluationDone):\n"
                  "            event.errors.clear()", "it changes an event: EvaluationDone("),
    "closed": ("        if self.file is not None:\n", "        if True:\n", "AttributeError"),
}  # fmt: skip


@pytest.mark.parametrize("check", WRONG)
def test_what_is_wrong_is_found_by_its_check(check: str) -> None:
    old, new, message = WRONG[check]
    assert old in TABLE
    Path("table.py").write_text(TABLE.replace(old, new).replace("import csv", "import csv\nfrom netspec import events"))
    load_plugin("table.py")
    found = {result.name: result.message for result in checked("callbacks.table") if result.status == "failed"}
    assert message in found[check]


def test_the_page_says_how_it_is_named() -> None:
    said = netspec("layers", "show", "table.py")
    assert "of netspec run: --log table\n" in said.out and "every" in said.out
    assert "callbacks: table, tensorboard" in netspec("layers").out
    with pytest.raises(SpecError, match="unknown callback 'gone'"):
        run("mini.yaml", log="gone")
