"""Terminals of a width, and what is shown on them."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys

import pytest
from places import ROOT

fcntl = pytest.importorskip("fcntl", reason="terminals of a width are Unix's")
termios = pytest.importorskip("termios", reason="terminals of a width are Unix's")


def on_a_terminal(columns: int, code: str, **variables: str) -> tuple[int, str]:
    """Exit code and output of a Python text in a terminal of a width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    unset = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    environment = {**inherited, "TERM": "xterm", "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            said += piece
    os.close(ours)
    return process.returncode, said.decode().replace("\r\n", "\n")


def cli(columns: int, *words: str, **variables: str) -> tuple[int, str]:
    """The same of a netspec command."""
    code = f"import sys; sys.argv[1:] = {words!r}\nfrom netspec.cli import main\nmain()"
    return on_a_terminal(columns, code, **variables)


def at_width(columns: int, *words: str) -> str:
    """What a command that succeeds shows at that width, without colours and blanks at the ends of lines."""
    code, said = cli(columns, *words)
    assert code == 0, said
    return "\n".join(line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", said).splitlines())
