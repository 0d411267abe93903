"""``netspec cache``: what is kept and where; clearing asks, and touches nothing else."""

import json
import os

import pytest
from cli_tools import netspec, process


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache with one kernel, one measurement, and what is not netspec's: a file, a folder and a link to another."""
    root = tmp_path / "cache"
    monkeypatch.setenv("NETSPEC_CACHE_DIR", str(root))
    others = "mine/thesis.txt", "notes.txt", "../elsewhere/precious.txt"
    for name in ("compiled/aa/kernel.nbc", "tuned/cpu.json", *others):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(2048))
    (root / "sass").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    return root


def left(folder):
    return {str(file.relative_to(folder.parent)) for file in folder.parent.rglob("*.*") if file.is_file()}


def test_what_is_kept(folder):
    data = json.loads(netspec("cache", "--json").out)
    assert data["folder"] == str(folder)
    found = [(one["kind"], one["files"], one["bytes"]) for one in data["parts"]]
    assert found == [("compiled", 1, 2048), ("tuned", 1, 2048)]
    out = netspec("cache").out
    assert out.startswith(f"{folder}\n") and "2.00 KiB" in out and "4.00 KiB" in out


def test_clearing_removes_kernels_and_nothing_else(folder):
    before = left(folder)
    said = netspec("cache", "clear", "--yes")
    assert (said.code, said.out) == (0, f"removed 1 file (2.00 KiB) from {folder}\n")
    assert before - left(folder) == {"cache/compiled/aa/kernel.nbc"}
    assert netspec("cache", "clear").out == "there is nothing to remove\n"


def test_what_cannot_be_asked_is_not_done(folder):
    before = left(folder)
    for words in (["clear"], ["clear", "--json"]):
        said = process("cache", *words, NETSPEC_CACHE_DIR=str(folder))
        assert said.code == 2 and "--yes" in said.err
    assert left(folder) == before


@pytest.mark.parametrize(("answer", "code"), [("n", 130), ("y", 0)])
def test_it_asks(folder, answer, code, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt: answer)
    before = left(folder)
    assert netspec("cache", "clear").code == code
    assert (left(folder) == before) == (answer == "n")


def test_no_cache_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("NETSPEC_CACHE_DIR", str(tmp_path / "none"))
    assert netspec("cache").out.splitlines()[1:] == ["nothing is kept yet"]
    assert not os.path.exists(tmp_path / "none")
