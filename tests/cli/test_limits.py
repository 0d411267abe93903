"""Limits of a process and terminals without threads: the cause is told."""

import io
import re
import resource
import threading

import pytest
from cli_tools import MINI, python
from rich.console import Console

from netspec.cli import _exit
from netspec.report.progress import LiveProgress, Progress


def said(error, capsys):
    def fail():
        raise error

    code = _exit.guarded(fail)
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [ImportError("x.so: failed to map segment"), OSError("Could not find 'libllvmlite.so'"), MemoryError("1 GiB")],
)
def test_where_memory_is_limited_what_cannot_be_loaded_names_the_limit(monkeypatch, capsys, error):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (400 * 2**20, -1))
    code, err = said(error, capsys)
    assert code == 1 and "memory is limited to 400 MiB by ulimit -v" in err and str(error) in err


def test_where_it_is_not_limited_a_library_that_is_missing_is_a_fault(monkeypatch, capsys):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY,) * 2)
    assert said(ImportError("no x"), capsys)[0] == _exit.INTERNAL
    assert "ulimit" not in said(MemoryError(), capsys)[1]


@pytest.mark.parametrize(
    ("limit", "size", "cause"),
    [
        ("RLIMIT_FSIZE", 10**6, r"safetensors: no file may be so large \(the file system's limit, or ulimit -f\)"),
        ("RLIMIT_NOFILE", 6, "too many open files"),
        ("RLIMIT_AS", 250 * 2**20, r"memory is limited to 250 MiB by ulimit -v|limits: ulimit -u and -v"),
    ],
)
def test_a_run_under_a_limit_ends_in_one_message(tmp_path, limit, size, cause):
    """The parameters of its first layer alone take three megabytes."""
    (tmp_path / "mini.yaml").write_text(MINI)
    command = ["run", str(tmp_path / "mini.yaml"), "--set", "layers.fc1.units=4096", "--out", str(tmp_path)]
    code = f"""
import resource
from netspec.cli import main
resource.setrlimit(resource.{limit}, ({size}, {size}))
main([*{command!r}, "--iterations", "2", "--workers", "0", "--devices", "cpu"])
"""
    found = python("-c", code)
    assert (found.code, found.err.startswith("error: "), found.err.count("\n")) == (1, True, 1), found
    assert re.search(cause, found.err), found


def test_a_terminal_line_that_no_thread_renews_becomes_plain_lines(monkeypatch):
    def start(self):
        raise RuntimeError("can't start new thread")

    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    live = LiveProgress(console)
    monkeypatch.setattr(threading.Thread, "start", start)
    with live as listener:
        assert type(listener) is Progress


def test_a_terminal_that_is_gone_at_the_end_hides_no_error(monkeypatch):
    def gone():
        raise OSError(5, "Input/output error")

    live = LiveProgress(Console(file=io.StringIO(), force_terminal=True, width=80))
    stop = live._live.stop
    monkeypatch.setattr(live._live, "stop", lambda: (stop(), gone()))
    with pytest.raises(KeyError), live:
        raise KeyError("the run")
    with live:
        pass
