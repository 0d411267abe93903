"""Problems as a terminal shows them: the place, the message, the line, a caret and the remedy."""

from __future__ import annotations

from netspec.errors import Mark, Problem, SpecError, printable_lines

_WIDEST = 110
_MARGIN = 8
"""Cells before a source line: its number and a bar."""


def render(error: SpecError, columns: int | None = None) -> str:
    """All problems of an error, each with its source line where that is known, in lines that fit so many columns."""
    width = _WIDEST if columns is None else min(max(columns - _MARGIN, 20), _WIDEST)
    return "\n".join(_render(problem, width) for problem in error.problems)


def _render(problem: Problem, width: int) -> str:
    remedy = problem.remedy or ""
    question = remedy.startswith("did you mean")
    head = f"{problem.message} ({remedy})" if question else problem.message
    mark = problem.mark
    lines = [f"{mark}: {head}" if mark else head, *(_excerpt(mark, width) if mark and mark.text else [])]
    if remedy and not question:
        lines.append(f"      = help: {remedy}")
    lines += [f"      = used at {use}" for use in problem.uses()]
    return printable_lines("\n".join(lines))


def _excerpt(mark: Mark, widest: int) -> list[str]:
    """The source line and the caret; of a long line the part around the place."""
    start = max(0, mark.column - 1 - widest // 2) if len(mark.text) > widest else 0
    text = mark.text[start : start + widest].rstrip()
    shown = "".join(char if char.isprintable() else " " for char in text)
    column = mark.column - 1 - start
    width = max(1, min(mark.width, widest - column, len(text) - column))
    gap = sum(_cells(char) for char in shown[:column]) + max(0, column - len(shown))
    return [f"{mark.line:5d} | {shown}", f"      | {' ' * gap}{'^' * width}"]


def _cells(char: str) -> int:
    """Terminal cells of a character: two for wide ones, none for combining ones."""
    if char.isascii():
        return 1
    import unicodedata

    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
