"""Real shells at a terminal: what a line has become when a person has pressed Tab in it."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import ROOT

COMMANDS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
SET_UP = {
    "bash": "PS1='> '; bind 'set enable-bracketed-paste off'; source {script}",
    "zsh": "PS1='> '; unset zle_bracketed_paste; bindkey -e; autoload -U compinit; compinit -u -d {script}.dump; "
    "source {script}",
    "fish": "function fish_prompt; echo '> '; end; set -g fish_autosuggestion_enabled 0; source {script}",
}
PATIENCE_S = 60
_BEGIN, _END = "<<<", ">>>"


class Shell:
    """An interactive shell on a pseudo-terminal of 80 columns, with netspec's completion; use it in a ``with``."""

    def __init__(self, name: str, folder: Path) -> None:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")
        self.name, self.folder = name, folder
        self.heard = ""

    def __enter__(self) -> Shell:
        script, programs = self.folder / f".completion.{self.name}", self.folder / ".bin"
        programs.mkdir(exist_ok=True)
        program = programs / "netspec"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m netspec "$@"\n')
        program.chmod(0o755)
        variables = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "TERM": "xterm"}
        variables |= {"HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder), "COLUMNS": "200"}
        done = subprocess.run([program, "completion", self.name], env=variables, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        script.write_text(done.stdout)
        self._pid, self._terminal = pty.fork()
        if not self._pid:
            os.chdir(self.folder)
            os.execvpe(COMMANDS[self.name][0], COMMANDS[self.name], variables)
        self._type(SET_UP[self.name].format(script=script) + "\n")
        self.ran("true")
        return self

    def __exit__(self, *reason: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._terminal)

    def completed(self, line: str) -> list[str]:
        """The words of a line after a Tab at its end; the shell itself tells them, as it hands them to a command."""
        return self.ran(line + "\t")

    def ran(self, line: str) -> list[str]:
        """The words of a line, typed as it is."""
        self.heard = ""
        self._type(line + "\x01" + f"printf '{_BEGIN[:2]}''<%s>' " + "\x05" + "\n")
        self._type(f"printf '{_END[:2]}''>\\n'\n")
        deadline = time.monotonic() + PATIENCE_S
        while _END not in self.heard:
            ready, _, _ = select.select([self._terminal], [], [], deadline - time.monotonic())
            assert ready, f"{self.name} does not answer: {self.heard!r}"
            self.heard += os.read(self._terminal, 65536).decode("utf-8", "replace")
        told = self.heard.partition(_END)[0]
        return [part.partition(">")[0] for part in told.split(_BEGIN)[1:]]

    def _type(self, text: str) -> None:
        for piece in _pieces(text):
            os.write(self._terminal, piece)


def _pieces(text: str) -> Iterator[bytes]:
    data = text.encode()
    yield from (data[i : i + 256] for i in range(0, len(data), 256))
