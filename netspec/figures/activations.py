"""Figure 1 of the paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from textwrap import fill
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import number
from netspec.errors import NetspecError
from netspec.figures import _style
from netspec.figures._base import Kind
from netspec.report.curves import Point, metrics_of, trained
from netspec.report.run_labels import Tell, but_for_seed, run_labels, settings_or_none
from netspec.units import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ERROR = "top1"
_LEGEND = 52
"""Characters of a line of the legend."""


@dataclass(frozen=True, slots=True)
class Learner:
    """Runs that differ in their seed alone: the curve of each, and the epochs after which each reached the level.

    None for a run that did not; 0 where its first point is at the level already, so that it was before that.
    """

    label: str
    curves: tuple[tuple[Point, ...], ...]
    crossings: tuple[float | None, ...]

    @property
    def crossing(self) -> float | None:
        """The mean over the runs; None where one of them did not reach the level, or did before the first point."""
        found = [one for one in self.crossings if one]
        return fmean(found) if len(found) == len(self.crossings) else None


@dataclass(frozen=True, slots=True)
class Race:
    """The learners, and how often the epochs of the fastest the slowest needs; None where fewer than two got there."""

    level: float
    learners: tuple[Learner, ...]
    ratio: float | None


class Activations(Kind):
    """Training error over epochs, and when it reaches 25 %: figure 1 of the paper.

    The error is that of the training batches as they were trained on, top-1, averaged over an epoch (--window). Runs
    whose specs differ in the seed alone, or that are given one label, are shown in one colour, and their mean counts.
    """

    attrs: ClassVar = {
        "level": number("The training error to reach, from 0 to 1.", default=0.25, above=0, below=1),
        "window": number("Epochs that a point is the mean of.", default=1.0, above=0),
    }
    examples: ClassVar[tuple[str, ...]] = (
        "netspec figure activations runs/figure1-*/* -o figure1.svg",
        "netspec figure activations RUN RUN --label ReLU --label tanh -o figure1.pdf",
    )

    def read(self, paths: Sequence[Path], labels: Sequence[str], tell: Tell) -> Race:
        """See Kind."""
        level, window = self.settings["level"], self.settings["window"]
        curves = [_curve(path, window, tell) for path in paths]
        learners = []
        for label, members in _grouped(paths, labels).items():
            own = tuple(curves[place] for place in members)
            learners.append(Learner(label, own, tuple(crossing(one, level) for one in own)))
        reached = [one.crossing for one in learners if one.crossing]
        return Race(level, tuple(learners), max(reached) / min(reached) if len(reached) > 1 else None)

    def lines(self, data: Race) -> list[str]:
        """When each learner got there, and the ratio."""
        told = [f"{one.label}: {_reached(one, data.level)}" for one in data.learners]
        return told if data.ratio is None else [*told, f"ratio {data.ratio:.2f}"]

    def draw(self, data: Race) -> Figure:
        """A column wide: curves, the dashed level, a mark and a drop line where it is crossed."""
        figure = _style.new_figure(_style.SINGLE, 2.6 + 0.13 * len(data.learners))
        axes = figure.subplots()
        axes.axhline(data.level, color=_style.INK, linestyle=(0, (4, 3)), linewidth=0.7, gid="level")
        corner: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "bottom"}
        axes.text(0.995, data.level + 0.008, percent(data.level, 0), color=_style.SOFT, **corner)
        for place, one in enumerate(data.learners):
            _draw_learner(axes, one, place, data.level)
        axes.set_xlim(left=0)
        axes.set_ylim(0, min(1.0, 1.05 * max(y for one in data.learners for curve in one.curves for _, y in curve)))
        axes.set_xlabel("epochs")
        axes.set_ylabel("training error")
        _style.percent_axis(axes.yaxis)
        if data.ratio is not None:
            axes.set_title(f"{data.ratio:.1f} times as many epochs to {percent(data.level, 0)}")
        figure.legend(loc="outside lower left", ncols=1, borderaxespad=0.2)
        return figure


def _draw_learner(axes: Axes, one: Learner, place: int, level: float) -> None:
    look: dict[str, Any] = {"color": _style.COLOURS[place % 7], "linestyle": _style.DASHES[place % 4]}
    label: str | None = fill(f"{_style.shortened(one.label, 48)}: {_reached(one, level)}", _LEGEND)
    for index, curve in enumerate(one.curves):
        x, y = zip(*curve, strict=True)
        width = 1.4 if len(one.curves) == 1 else 0.8
        dot = "o" if len(x) == 1 else ""
        axes.plot(x, y, linewidth=width, marker=dot, **look, label=label, gid=f"curve.{place}.{index}")
        label = None  # one entry for all runs of the learner
    if one.crossing:
        axes.plot([one.crossing] * 2, [0, level], color=look["color"], linewidth=0.6, linestyle=":")
        axes.plot(one.crossing, level, "o", color=look["color"], zorder=3, gid=f"crossing.{place}")


def _curve(path: Path, window: float, tell: Tell) -> tuple[Point, ...]:
    metrics = metrics_of(path)
    for line in metrics.faults:
        tell(line)
    points = windowed(trained(metrics, _ERROR), window)
    if not points:
        raise NetspecError(f"{path}: no top-1 error is in its metrics; it comes with a softmax_loss")
    return points


def windowed(points: Sequence[Point], window: float) -> tuple[Point, ...]:
    """Means over stretches of ``window`` epochs, each at the end of its stretch."""
    stretches: dict[int, list[Point]] = {}
    for point in points:
        stretches.setdefault(math.ceil(point[0] / window - 1e-9), []).append(point)
    return tuple((group[-1][0], fmean(y for _, y in group)) for group in stretches.values())


def crossing(curve: Sequence[Point], level: float) -> float | None:
    """Where the curve, straight between its points, first comes down to the level; 0 where it begins there."""
    if curve[0][1] <= level:
        return 0.0
    for (x0, y0), (x1, y1) in pairwise(curve):
        if y1 <= level:
            return x0 + (x1 - x0) * (y0 - level) / (y0 - y1)
    return None


def _grouped(paths: Sequence[Path], labels: Sequence[str]) -> dict[str, list[int]]:
    """The runs by learner: of one label where labels are given, else of one spec but for the seed."""
    keys = labels or [_recipe(path) for path in paths]
    groups: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    if labels:
        return groups
    names = run_labels([paths[members[0]] for members in groups.values()])
    return dict(zip(names, groups.values(), strict=True))


def _recipe(path: Path) -> str:
    settings = settings_or_none(path)
    return but_for_seed(settings) if settings else str(path)


def _reached(one: Learner, level: float) -> str:
    found = [crossing for crossing in one.crossings if crossing]
    early, never = one.crossings.count(0.0), one.crossings.count(None)
    seeds = len(one.crossings)
    parts = [f"{fmean(found):.1f} epochs"] if found else []
    if len(found) > 1:
        parts = [f"{fmean(found):.1f} epochs ({min(found):.1f} to {max(found):.1f}, {len(found)} seeds)"]
    if early:
        parts.append("before the first point" + (f" in {early} of {seeds}" if seeds > 1 else ""))
    if never:
        parts.append(f"{percent(level, 0)} not reached" + (f" in {never} of {seeds}" if seeds > 1 else ""))
    return ", ".join(parts)
