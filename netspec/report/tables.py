"""Tables on a terminal: rich draws them, a pipe gets plain columns of full width. No cell is ever cut."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import rich.table
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

_PIPE_WIDTH = 400
PAGE_WIDTH = 100
_BETWEEN = 3
"""Cells between two columns; as many lie beside them together at both edges."""
_NARROWEST = 16
"""Cells that a column which folds keeps if its words are no longer."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under column names, and what may happen where they do not fit: some columns fold, others leave."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[str]
    fold: frozenset[str]
    drop: tuple[str, ...]
    total: tuple[str, ...] | None
    title: str | None

    def narrowest(self, whole_words: bool = True) -> int:
        """Cells that the table needs at least, with words left whole in the columns that fold or without."""
        widths = (self._width(number, whole_words) for number in range(len(self.columns)))
        return sum(widths) + _BETWEEN * len(self.columns)

    def _width(self, number: int, whole_words: bool) -> int:
        cells = [row[number] for row in (self.columns, *self.rows, *([self.total] if self.total else []))]
        whole = max(map(cell_len, cells))
        if self.columns[number] not in self.fold:
            return whole
        words = [word for cell in cells for word in cell.split()] if whole_words else []
        return min(whole, max(_NARROWEST, *map(cell_len, words), 0))

    def without(self, column: str) -> Table:
        """The same table, one column less."""
        place = self.columns.index(column)
        rows = tuple((*row[:place], *row[place + 1 :]) for row in (self.columns, *self.rows))
        total = (*self.total[:place], *self.total[place + 1 :]) if self.total else None
        return replace(self, columns=rows[0], rows=rows[1:], total=total)

    def fitting(self, width: int) -> tuple[Table, list[str]]:
        """The table with as many columns as a width can take, and the names of those that had to leave."""
        fitted, left_out = self, list[str]()
        for name in self.drop:
            if fitted.narrowest() <= width:
                break
            fitted, left_out = fitted.without(name), [*left_out, name]
        return fitted, left_out

    def drawn(self) -> rich.table.Table:
        """As rich draws it."""
        made = rich.table.Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
        for name in self.columns:
            justify = "right" if name in self.right else "left"
            made.add_column(name, justify=justify, no_wrap=name not in self.fold, overflow="fold")  # type: ignore[arg-type]
        for row in self.rows:
            made.add_row(*map(Text, row))
        if self.total is not None:
            made.add_section()
            made.add_row(*(Text(cell, style="bold") for cell in self.total))
        return made


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Iterable[str] = (),
    fold: Iterable[str] = (),
    drop: Iterable[str] = (),
    total: Sequence[object] | None = None,
    title: str | None = None,
) -> Table:
    """Rows of values under column names; ``right`` are aligned right.

    Where a terminal is too narrow, ``fold`` wrap within their cells, then ``drop`` are left out one by one.
    """
    cells = tuple(tuple(map(str, row)) for row in rows)
    last = None if total is None else tuple(map(str, total))
    return Table(tuple(columns), cells, frozenset(right), frozenset(fold), tuple(drop), last, title)


def console(stderr: bool = False, pipe_width: int = _PIPE_WIDTH) -> Console:
    """A console for stdout or stderr that never wraps what goes into a pipe or a file, unless a width is given."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else pipe_width)


def terminal_width() -> int:
    """The columns of the terminal that stdout is; of a pipe or a file so many that nothing is wrapped."""
    return console().width


def show(*parts: Table | str, pipe_width: int = _PIPE_WIDTH) -> None:
    """Print tables and lines to stdout, without the blanks that rich leaves at the ends of lines.

    ``pipe_width``: where columns fold that fold, in a pipe.
    """
    out = console(pipe_width=pipe_width)
    if out.is_terminal:
        for part in parts:
            _print(out, part)
        return
    with out.capture() as captured:
        for part in parts:
            _print(out, part)
    print("\n".join(_narrow(line.rstrip()) for line in captured.get().rstrip().split("\n")))


def _print(out: Console, part: Table | str) -> None:
    if isinstance(part, str):
        out.print(Text(part))
        return
    width = out.width
    fitted, left_out = part.fitting(width)
    if fitted.title:
        out.print(Text(fitted.title, style="bold"))
    out.width = max(width, fitted.narrowest(whole_words=False))  # what is wider still, the terminal wraps
    out.print(fitted.drawn(), crop=False)
    out.width = width
    if left_out:
        names = ", ".join(left_out)
        out.print(Text(f"not shown at this width: {names}; a wider terminal, a pipe and --json have them"))


def _narrow(line: str) -> str:
    """A rule below column names no wider than a page, however wide the columns; anything else as it is."""
    return line if line.strip("─ ") else line[:PAGE_WIDTH]
