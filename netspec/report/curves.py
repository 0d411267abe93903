"""What there is to draw of runs: loss and errors over epochs, from their metrics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from netspec.errors import NetspecError, printable
from netspec.report.units import error_name, nearer

if TYPE_CHECKING:
    from netspec.rundir.metrics import Metrics

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


def panels(folders: Sequence[Path]) -> tuple[list[Panel], list[str]]:
    """Loss, and the first error that each run reports; with lines for people on metrics that could not be read.

    Raises NetspecError where there is nothing to draw.
    """
    runs = [(printable(nearer(folder)), _metrics(folder)) for folder in folders]
    loss = [one for i, (name, metrics) in enumerate(runs) for one in _curves(name, i, metrics, None)]
    error = _first_error(metrics for _, metrics in runs)
    made = [Panel("loss", tuple(loss))]
    if error is not None:
        errors = [one for i, (name, metrics) in enumerate(runs) for one in _curves(name, i, metrics, error)]
        made.append(Panel(f"{error_name(error)} error", tuple(errors), percent=True))
    return [panel for panel in made if panel.series], [line for _, metrics in runs for line in metrics.faults]


def _metrics(folder: Path) -> Metrics:
    from netspec.rundir.metrics import read_metrics

    if not folder.is_dir():
        raise NetspecError(f"{folder}: no such run (netspec runs lists them)")
    metrics = read_metrics(folder)
    if not metrics.iterations:
        why = "".join(f"\n  {line}" for line in metrics.faults)
        raise NetspecError(f"{folder}: nothing to draw: no iteration is in its metrics{why}")
    return metrics


def _first_error(runs: Iterable[Metrics]) -> str | None:
    found = ((*metrics.iterations.errors, *_evaluated(metrics)) for metrics in runs)
    return next((name for names in found for name in names), None)


def _evaluated(metrics: Metrics) -> Iterator[str]:
    for line in metrics.evaluations:
        yield from line.get("errors") or ()


def _curves(name: str, run: int, metrics: Metrics, error: str | None) -> list[Series]:
    """The training and the validation curve of one run, those that have points."""
    per_epoch = metrics.starts[0].get("iterations_per_epoch", 1) if metrics.starts else 1
    found = [
        Series(name, run, "training", _thinned(_trained(metrics, per_epoch or 1, error))),
        Series(name, run, "validation", tuple(_validated(metrics, per_epoch or 1, error))),
    ]
    return [series for series in found if series.points]


def _trained(metrics: Metrics, per_epoch: int, error: str | None) -> list[Point]:
    values = metrics.iterations.loss if error is None else metrics.iterations.errors.get(error, ())
    pairs = zip(metrics.iterations.iteration, values, strict=False)
    return [(iteration / per_epoch, value) for iteration, value in pairs if math.isfinite(value)]


def _validated(metrics: Metrics, per_epoch: int, error: str | None) -> Iterator[Point]:
    for line in metrics.evaluations:
        value = line.get("loss") if error is None else (line.get("errors") or {}).get(error)
        if value is not None:
            yield line["iteration"] / per_epoch, float(value)


def _thinned(points: list[Point]) -> tuple[Point, ...]:
    size = math.ceil(len(points) / POINTS) or 1
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return tuple((group[-1][0], sum(y for _, y in group) / len(group)) for group in groups)
