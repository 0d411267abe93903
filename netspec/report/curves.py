"""What there is to draw of runs: loss and errors over epochs, from their metrics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from netspec.errors import NetspecError
from netspec.report.units import error_name, nearer

POINTS = 200
"""A training curve has at most so many points, each the mean of the iterations it stands for."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """One curve: points (epoch, value), the run it belongs to (counted from 0) and whether it is of validation."""

    label: str
    run: int
    part: Literal["training", "validation"]
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves that share axes; ``percent`` says that values in [0, 1] are shares."""

    title: str
    series: tuple[Series, ...]
    percent: bool = False


def panels(folders: Sequence[Path]) -> list[Panel]:
    """Loss, and the first error that each run reports. Raises NetspecError where there is nothing to draw."""
    runs = [(nearer(folder), _metrics(folder)) for folder in folders]
    loss = [one for i, (name, lines) in enumerate(runs) for one in _curves(name, i, lines, None)]
    error = _first_error(line for _, lines in runs for line in lines)
    made = [Panel("loss", tuple(loss))]
    if error is not None:
        errors = [one for i, (name, lines) in enumerate(runs) for one in _curves(name, i, lines, error)]
        made.append(Panel(f"{error_name(error)} error", tuple(errors), percent=True))
    return [panel for panel in made if panel.series]


def _metrics(folder: Path) -> list[dict[str, Any]]:
    from netspec.rundir.metrics import read_metrics

    if not folder.is_dir():
        raise NetspecError(f"{folder}: no such run (netspec runs lists them)")
    lines = read_metrics(folder)
    if not any(line["event"] == "iteration" for line in lines):
        raise NetspecError(f"{folder}: nothing to draw: no iteration is in its metrics")
    return lines


def _first_error(lines: Iterable[Mapping[str, Any]]) -> str | None:
    return next((name for line in lines for name in line.get("errors") or ()), None)


def _curves(name: str, run: int, lines: list[dict[str, Any]], error: str | None) -> list[Series]:
    """The training and the validation curve of one run, those that have points."""
    per_epoch = next((line["iterations_per_epoch"] for line in lines if line["event"] == "start"), 1) or 1
    training = _points(lines, "iteration", per_epoch, error)
    validation = _points(lines, "evaluation", per_epoch, error)
    found = [
        Series(name, run, "training", _thinned(training)),
        Series(name, run, "validation", tuple(validation)),
    ]
    return [series for series in found if series.points]


def _points(lines: list[dict[str, Any]], event: str, per_epoch: int, error: str | None) -> list[Point]:
    chosen = [line for line in lines if line["event"] == event]
    values = [(line["iteration"] / per_epoch, _value(line, error)) for line in chosen]
    return [(x, y) for x, y in values if y is not None and math.isfinite(y)]


def _value(line: Mapping[str, Any], error: str | None) -> float | None:
    value = line.get("loss") if error is None else (line.get("errors") or {}).get(error)
    return float(value) if isinstance(value, int | float) else None


def _thinned(points: list[Point]) -> tuple[Point, ...]:
    size = math.ceil(len(points) / POINTS) or 1
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return tuple((group[-1][0], sum(y for _, y in group) / len(group)) for group in groups)
