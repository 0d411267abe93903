"""Broken specs under bad_specs/: each gives exactly the messages of its .txt file.

To renew the expected files: NETSPEC_UPDATE=1 pytest tests/spec/test_bad_specs.py; then read
the difference.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from places import ROOT
from yaml_parsers import PARSERS

from netspec.errors import NetspecError, SpecError
from netspec.planning import check
from netspec.spec import load, loading, render, syntax

FOLDER = ROOT / "tests" / "spec" / "bad_specs"
BAD = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def messages(path: str) -> str:
    """What a terminal shows for the spec; empty where nothing is wrong."""
    try:
        check(load(path))
    except SpecError as error:
        return render(error) + "\n"
    except NetspecError as error:
        return f"{error}\n"
    return ""


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("name", BAD)
def test_messages_are_exact(name: str, parser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(syntax, "_LOADER", parser)
    loading._parsed.cache_clear()
    told = messages(f"tests/spec/bad_specs/{name}.yaml")
    expected = FOLDER / f"{name}.txt"
    if os.environ.get("NETSPEC_UPDATE"):
        expected.write_text(told, encoding="utf-8")
    assert told, "a broken spec was taken for a good one"
    assert told == expected.read_text(encoding="utf-8")


def test_there_are_fifty() -> None:
    assert len(BAD) >= 50
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(BAD)
