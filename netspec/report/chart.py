"""Charts: panels side by side with axes, curves and a legend, drawn on any canvas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from netspec.report.curves import Panel, Point, Series

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette: told apart by colour-blind readers too."""
_INK, _FAINT = "#333333", "#dddddd"
_WIDTH, _HEIGHT = 480, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 36, 40
_LINE = 16

Anchor = Literal["start", "middle", "end"]


class Canvas(Protocol):
    """What a chart is drawn on; y grows downwards."""

    def line(self, points: Sequence[Point], colour: str, width: float, faint: bool = False) -> None:
        """A polyline."""

    def text(self, x: float, y: float, text: str, colour: str, size: int, anchor: Anchor) -> None:
        """A line of text; (x, y) lies on its baseline."""


@dataclass(frozen=True, slots=True)
class Axes:
    """From data to places on the canvas."""

    x: tuple[float, float]
    y: tuple[float, float]
    left: float

    def place(self, point: Point) -> Point:
        """Where a data point lies."""
        across = (point[0] - self.x[0]) / (self.x[1] - self.x[0])
        up = (point[1] - self.y[0]) / (self.y[1] - self.y[0])
        inner = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return self.left + _LEFT + across * inner[0], _HEIGHT - _BOTTOM - up * inner[1]


def size(panels: Sequence[Panel]) -> tuple[int, int]:
    """Width and height of the chart."""
    return _WIDTH * len(panels), _HEIGHT + _LINE * len(_legend(panels)) + 8


def draw(panels: Sequence[Panel], canvas: Canvas) -> None:
    """Draw the panels and below them the legend."""
    for index, panel in enumerate(panels):
        _draw_panel(panel, index * _WIDTH, canvas)
    for row, (label, colour, faint) in enumerate(_legend(panels)):
        y = _HEIGHT + _LINE * row + 4
        canvas.line([(_LEFT, y - 4), (_LEFT + 26, y - 4)], colour, 2, faint)
        canvas.text(_LEFT + 34, y, label, _INK, 12, "start")


def _legend(panels: Sequence[Panel]) -> list[tuple[str, str, bool]]:
    entries = [(one.label, one.part, one.run) for panel in panels for one in panel.series]
    return [(f"{label}, {part}", _colour(run), part == "training") for label, part, run in dict.fromkeys(entries)]


def _colour(run: int) -> str:
    return COLOURS[run % len(COLOURS)]


def axes_of(series: Sequence[Series], left: float = 0) -> Axes:
    """Axes that hold all points: x from 0, y with a little room; from 0 where that costs little."""
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points]
    low, high = min(ys), max(ys)
    low = 0.0 if 0 <= low < 0.5 * high else low
    room = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    return Axes((0.0, max(xs) or 1.0), (low - room if low else 0.0, high + room), left)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) in ``[low, high]``, at most so many."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def written(value: float, percent: bool = False) -> str:
    """A tick's text."""
    return f"{100 * value:.6g} %" if percent else f"{value:.6g}"


def _draw_panel(panel: Panel, left: float, canvas: Canvas) -> None:
    axes = axes_of(panel.series, left)
    right, bottom = left + _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    for y in ticks(*axes.y):
        height = axes.place((0, y))[1]
        canvas.line([(left + _LEFT, height), (right, height)], _FAINT, 1)
        canvas.text(left + _LEFT - 6, height + 4, written(y, panel.percent), _INK, 11, "end")
    for x in ticks(*axes.x):
        canvas.text(axes.place((x, 0))[0], bottom + 16, written(x), _INK, 11, "middle")
    canvas.line([(left + _LEFT, bottom), (right, bottom)], _INK, 1)
    canvas.text(left + _LEFT, _TOP - 14, panel.title, _INK, 14, "start")
    canvas.text(right, bottom + 32, "epoch", _INK, 11, "end")
    for one in sorted(panel.series, key=lambda series: series.part):
        faint = one.part == "training"
        canvas.line([axes.place(point) for point in one.points], _colour(one.run), 1.5 if faint else 2.2, faint)
