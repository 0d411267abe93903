"""The command line: thin over ``netspec.load``, ``plan``, ``run``, ``evaluate`` and ``predict``.

A command is a module of its own, imported when it is called, so that ``netspec --help`` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from netspec.exit_codes import INTERRUPTED

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit, as netspec/exit_codes.py has it; Ctrl-C while it is imported ends it too."""
    try:
        from netspec.cli._main import main as run
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        raise SystemExit(INTERRUPTED) from None
    run(args)
