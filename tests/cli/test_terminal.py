"""Progress in terminals: with colours and without, wide and narrow, and one that can only print lines."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys
from fcntl import ioctl
from termios import TIOCSWINSZ

import pytest

SHOWS = """
from netspec.events import TaskProgress
from netspec.report import progress

progress._SHORT_S = 0.0
now = 0.0
with progress.progress(stderr=True) as listener:
    listener._clock = listener.tasks._clock = lambda: now
    listener.tasks._open.clear()
    listener._at = listener._began = listener._heard_at = 0.0
    listener(TaskProgress("compiling kernels", 0, 32, "once: kept in ~/.cache/netspec", even=False))
    now = 4.0
    listener(TaskProgress("compiling kernels", 8, 32, "once: kept in ~/.cache/netspec", even=False))
    if isinstance(listener, progress.LiveProgress):
        listener._live.refresh()
"""
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def terminal(columns: int, **variables: str) -> str:
    """What a terminal of that width is sent."""
    main, child = pty.openpty()
    ioctl(child, TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    environment |= {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **variables}
    process = subprocess.Popen([sys.executable, "-c", SHOWS], stderr=child, stdout=subprocess.PIPE, env=environment)
    os.close(child)
    sent = b""
    try:
        while some := os.read(main, 4096):
            sent += some
    except OSError:  # the end of a terminal
        pass
    os.close(main)
    assert process.communicate()[0] == b"" and process.returncode == 0
    return sent.decode()


@pytest.mark.parametrize("columns", [30, 80, 200])
@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}])
def test_a_live_line_with_a_bar(columns: int, variables: dict[str, str]) -> None:
    sent = terminal(columns, **variables)
    coloured = "\x1b[36m" in sent
    shown = [line for line in re.split(r"[\r\n]+", CONTROL.sub("", sent)) if "8/32" in line]
    assert shown and max(map(len, shown)) < columns
    cells = {30: 0, 80: 8, 200: 16}[columns]
    bar = "\u2501" * (cells // 4) + "\u00b7" * (cells - cells // 4) + "  "
    assert shown[0].startswith((bar if cells else "") + "compiling kernels 8/32")
    assert ("once: kept in" in shown[0]) == (columns > 30) and coloured == bool(cells and not variables)


def test_a_terminal_that_can_only_print() -> None:
    assert terminal(80, TERM="dumb").split("\r\n") == [
        "compiling kernels 8/32  4.0 s  (once: kept in ~/.cache/netspec)",
        "",
    ]
