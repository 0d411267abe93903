"""Running the command line as a user does: in this process for speed, or in one of its own."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import click
from places import ROOT

from netspec.cli._main import cli, outcome

MINI = """\
netspec: 1
name: mini
devices: [left, right]
inputs:
  image: {shape: [8, 8, 3]}
  label: {dtype: int32}
layers:
  - {name: fc1, type: dense, device: [left, right], inputs: image, units: 8, init: {type: he}}
  - {name: relu1, type: relu}
  - {name: fc2, type: dense, device: left, inputs: {from: relu1, connect: all}, units: 3, init: {type: he}}
  - {name: loss, type: softmax_loss, inputs: [fc2, label]}
train: {batch: 8, epochs: 2, sgd: {learning_rate: 0.01}}
data: {source: {type: generated, classes: 3, images: 48, val_images: 16}, scale: 0.01, workers: 0}
"""
"""Two devices, 16 images to validate on, six iterations an epoch: trains in a moment."""


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


def netspec(*args: object) -> Said:
    """Run a command in this process, neither of its streams being a terminal."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = outcome([str(arg) for arg in args])
    return Said(code, out.getvalue(), err.getvalue())


def json_commands(group: click.Group = cli, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command that has --json."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from json_commands(command, (*words, name))
        if command is not None and any("--json" in parameter.opts for parameter in command.params):
            yield (*words, name)


def process(*args: object, **variables: str) -> Said:
    """Run ``python -m netspec`` in a process of its own."""
    return python("-m", "netspec", *args, **variables)


def python(*args: object, **variables: str) -> Said:
    """Run Python in a process of its own, with netspec importable."""
    command = [sys.executable, *(str(arg) for arg in args)]
    environment = {**_environment(), **variables}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    return Said(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def started(*args: object, **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process of Python, with netspec importable; it and its pipes are gone when the block is left, however that is.

    ``options`` are those of ``subprocess.Popen``.
    """
    command = [sys.executable, *(str(arg) for arg in args)]
    with subprocess.Popen(command, env=_environment(), **options) as process:
        try:
            yield process
        finally:
            process.kill()


def _environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    return {**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)}


def imported_by(*args: str) -> set[str]:
    """The modules that a command imports, by their first two names."""
    code = "\n".join(
        [
            "import sys",
            "from netspec.cli._exit import guarded",
            "from netspec.cli._main import cli",
            f"code = guarded(lambda: cli.main({list(args)!r}, prog_name='netspec', standalone_mode=False))",
            "print('MODULES', code, *sys.modules)",
        ]
    )
    said = python("-c", code)
    code_word, *modules = said.out.rpartition("MODULES ")[2].split()
    assert code_word == "0", said
    return set(modules)
