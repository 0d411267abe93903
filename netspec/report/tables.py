"""Tables on a terminal: rich draws them, a pipe gets plain columns of full width."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH = 400
_RULE_WIDTH = 100


def console(stderr: bool = False) -> Console:
    """A console for stdout or stderr that never wraps what goes into a pipe or a file."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else _PIPE_WIDTH)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Iterable[str] = (),
    fold: Iterable[str] = (),
    total: Sequence[object] | None = None,
    title: str | None = None,
) -> Table:
    """Rows of plain values under column names; ``right`` are aligned right, ``fold`` give way when it is narrow."""
    right, fold = set(right), set(fold)
    made = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False, padding=(0, 1))
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", no_wrap=name not in fold, overflow="fold")
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    if total is not None:
        made.add_section()
        made.add_row(*(Text(str(cell), style="bold") for cell in total))
    return made


def show(*parts: Table | str) -> None:
    """Print tables and lines to stdout, without the blanks that rich leaves at the ends of lines."""
    out = console()
    if out.is_terminal:
        for part in parts:
            out.print(part if isinstance(part, Table) else Text(part))
        return
    with out.capture() as captured:
        for part in parts:
            out.print(part if isinstance(part, Table) else Text(part))
    print("\n".join(_narrow(line.rstrip()) for line in captured.get().rstrip().split("\n")))


def _narrow(line: str) -> str:
    """A rule below column names no wider than a page, however wide the columns; anything else as it is."""
    return line if line.strip("─ ") else line[:_RULE_WIDTH]
