"""A plugin that comes through standard input: ``--plugin -``."""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

import click

STDIN = "-"


@cache
def stdin_plugin() -> str:
    """A file with what standard input brings; kernels are compiled from their text. Gone when the process ends.

    A run keeps a copy, as of any plugin; with ``--processes`` it is read once, before these are started. Raises
    UsageError where nothing comes, and in one of several processes that mpiexec or srun has started, which hand
    standard input to one at most.
    """
    from netspec.machine.ranks import launched
    from netspec.registry.plugin_source import MAX_BYTES

    if launched().of > 1:
        raise click.UsageError("'-' is standard input, which several processes do not share: name the plugin's file")
    source = sys.stdin.buffer.read(MAX_BYTES + 1)
    if not source.strip():
        raise click.UsageError("'-' stands for a plugin on standard input, and nothing came")
    folder = tempfile.mkdtemp(prefix="netspec-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = Path(folder) / "stdin.py"
    file.write_bytes(source)
    return str(file)
