"""The command line: thin over ``netspec.load``, ``plan``, ``run``, ``evaluate`` and ``predict``.

A command is a module of its own, imported when it is called, so that ``netspec --help`` answers at once.
"""

from netspec.cli._main import main

__all__ = ["main"]
