"""Curves in a terminal, two by four dots a character."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from netspec.report.chart import Axes, axes_of, ticks, written
from netspec.report.curves import Panel, Point, Series

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLANK = 0x2800
_MARGIN = 9
_ANSI = ("blue", "red", "green", "magenta", "yellow", "cyan")

Cell = tuple[str, str | None]
"""A character and its colour."""


def plot(panel: Panel, width: int, height: int = 12) -> list[list[Cell]]:
    """The panel as lines of cells; the last lines are the axis and the legend."""
    columns = max(width - _MARGIN, 10)
    axes = axes_of(panel.series)
    grid: dict[tuple[int, int], tuple[int, str]] = {}
    for one in sorted(panel.series, key=lambda series: series.part):
        for column, row in _dots(one, axes, columns * 2, height * 4):
            key = column // 2, row // 4
            bits = grid.get(key, (0, ""))[0] | _DOTS[row % 4][column % 2]
            grid[key] = bits, colour(one)
    lines = [_title(panel)]
    labels = _labels(axes, height, panel.percent)
    for row in range(height):
        cells: list[Cell] = [(labels.get(row, "").rjust(_MARGIN - 2) + " |", None)]
        for column in range(columns):
            bits, shade = grid.get((column, row), (0, ""))
            cells.append((chr(_BLANK + bits) if bits else " ", shade or None))
        lines.append(cells)
    return [*lines, *_foot(axes, columns)]


def legend(panels: Sequence[Panel]) -> list[list[Cell]]:
    """A line for each curve."""
    entries = dict.fromkeys((one.label, one.part, colour(one)) for panel in panels for one in panel.series)
    return [[("-- ", shade), (f"{label}, {part}", None)] for label, part, shade in entries]


def colour(series: Series) -> str:
    """The terminal colour of a curve: bright for validation."""
    name = _ANSI[series.run % len(_ANSI)]
    return f"bright_{name}" if series.part == "validation" else name


def _title(panel: Panel) -> list[Cell]:
    return [(" " * _MARGIN + panel.title, None)]


def _foot(axes: Axes, columns: int) -> list[list[Cell]]:
    last = f"epoch {written(axes.x[1])}"
    return [
        [(" " * (_MARGIN - 1) + "+" + "-" * columns, None)],
        [(" " * _MARGIN + "0" + last.rjust(columns - 1), None)],
    ]


def _labels(axes: Axes, height: int, percent: bool) -> dict[int, str]:
    low, high = axes.y
    found = {}
    for value in ticks(low, high, max(2, height // 3)):
        row = round((high - value) / (high - low) * (height - 1))
        found[row] = written(value, percent)
    return found


def _dots(series: Series, axes: Axes, width: int, height: int) -> Iterator[tuple[int, int]]:
    """Every dot that the curve passes, from point to point."""
    places = [_place(point, axes, width, height) for point in series.points]
    yield places[0]
    for (x0, y0), (x1, y1) in pairwise(places):
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for step in range(1, steps + 1):
            yield round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps)


def _place(point: Point, axes: Axes, width: int, height: int) -> tuple[int, int]:
    across = (point[0] - axes.x[0]) / (axes.x[1] - axes.x[0])
    down = (axes.y[1] - point[1]) / (axes.y[1] - axes.y[0])
    return round(across * (width - 1)), round(down * (height - 1))
