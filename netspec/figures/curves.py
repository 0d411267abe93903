"""Curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.figures import _style
from netspec.figures._base import Kind
from netspec.report.curves import Panel, Series, panels
from netspec.report.run_labels import Tell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Curves(Kind):
    """Loss, errors and learning rate over epochs, of one run or several.

    Thin lines are means over neighbouring iterations of the training, with dropout and augmentation at work; thick
    ones with a mark an epoch are validation.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "netspec figure curves runs/alexnet/2026-01-31_12-00-00 -o curves.svg",
        "netspec figure curves RUN RUN --label ReLU --label tanh -o curves.pdf",
    )

    def read(self, paths: Sequence[Path], labels: Sequence[str], tell: Tell) -> list[Panel]:
        """See Kind."""
        made, faults = panels(paths, labels)
        for line in faults:
            tell(line)
        return made

    def draw(self, data: list[Panel]) -> Figure:
        """A panel each, in rows of two: the legend below tells runs by colour."""
        rows, handles, names = -(-len(data) // 2), *_legend(data)
        high = 1.95 * rows + _style.legend_height(names, _style.DOUBLE)
        figure = _style.new_figure(_style.DOUBLE, high)
        grid = figure.subplots(rows, 2, squeeze=False, sharex=True)
        places = _places(data)
        for panel, axes in zip(data, grid.flat, strict=False):
            _draw_panel(panel, axes, places)
        for axes in grid.flat[len(data) :]:
            axes.set_axis_off()
        _style.legend_below(figure, handles, names, _style.DOUBLE)
        return figure


def _places(data: Sequence[Panel]) -> dict[str, int]:
    """The labels in their order: runs of one label look alike."""
    labels = dict.fromkeys(series.label for panel in data for series in panel.series)
    return {label: place for place, label in enumerate(labels)}


def _draw_panel(panel: Panel, axes: Axes, places: Mapping[str, int]) -> None:
    rate = panel.title == "learning rate"
    for series in sorted(panel.series, key=lambda one: one.part):
        x, y = zip(*series.points, strict=True)
        look = _look(places[series.label], series.part, rate, len(series.points))
        axes.plot(x, y, drawstyle="steps-post" if rate else "default", **look, gid=_name(panel, series))
    axes.set_title(panel.title)
    axes.set_xlim(left=0)
    axes.grid(axis="y")
    axes.tick_params(labelbottom=True)
    axes.set_xlabel("epoch")
    if panel.percent:
        axes.set_ylim(bottom=0)
        _style.percent_axis(axes.yaxis)
    elif rate and _spans_decades(panel):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(_ticks(panel))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    elif rate:
        axes.set_ylim(bottom=0)


def _spans_decades(panel: Panel) -> bool:
    low, high = _range(panel)
    return low > 0 and high >= 5 * low


def _ticks(panel: Panel) -> Any:
    """A tick at each of 1, 2 and 5 times a power of ten, or at powers alone where there are many."""
    from matplotlib.ticker import LogLocator

    low, high = _range(panel)
    return LogLocator(subs=(1.0, 2.0, 5.0) if high < 200 * low else (1.0,))


def _range(panel: Panel) -> tuple[float, float]:
    values = [y for series in panel.series for _, y in series.points]
    return min(values), max(values)


def _look(place: int, part: str, rate: bool, points: int) -> dict[str, Any]:
    """Validation has marks, a dozen at most; training is thin and lighter."""
    look: dict[str, Any] = {"color": _style.COLOURS[place % len(_style.COLOURS)]}
    look["linestyle"] = _style.DASHES[place // len(_style.COLOURS) % len(_style.DASHES)]
    if part == "validation":
        return {**look, "marker": "o", "markevery": max(1, points // 12), "zorder": 3}
    return {**look, "linewidth": 1.0 if rate else 0.7, "alpha": 1.0 if rate else 0.6}


def _name(panel: Panel, series: Series) -> str:
    return f"{panel.title.replace(' ', '-')}.{series.run}.{series.part}"


def _legend(data: Sequence[Panel]) -> tuple[list[Any], list[str]]:
    """Lines and their names: the runs by colour, training and validation by how they are drawn."""
    from matplotlib.lines import Line2D

    places, parts = _places(data), dict.fromkeys(series.part for panel in data for series in panel.series)
    runs = [Line2D([], [], **{**_look(place, "training", True, 0), "linewidth": 1.5}) for place in places.values()]
    marks: dict[str, dict[str, Any]] = {"training": {"linewidth": 0.7, "alpha": 0.6}, "validation": {"marker": "o"}}
    kinds = [Line2D([], [], color=_style.INK, **marks[part]) for part in parts]
    return [*runs, *kinds], [*(_style.shortened(label, 60) for label in places), *parts]
