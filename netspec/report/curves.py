"""What there is to draw of runs: loss, errors and learning rate over epochs, from their metrics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from netspec.errors import NetspecError, NoSuchFile
from netspec.report.run_labels import run_labels
from netspec.units import error_title, is_share

if TYPE_CHECKING:
    from netspec.rundir.metrics import Metrics

POINTS = 200
"""A training curve has at most so many points, each the mean of the iterations it stands for."""

Point = tuple[float, float]
Part = Literal["training", "validation"]


@dataclass(frozen=True, slots=True)
class Series:
    """One curve: points (epoch, value), the run it belongs to (counted from 0) and whether it is of validation."""

    label: str
    run: int
    part: Part
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves that share axes; ``percent`` says that values in [0, 1] are shares."""

    title: str
    series: tuple[Series, ...]
    percent: bool = False


def panels(folders: Sequence[Path], labels: Sequence[str] = ()) -> tuple[list[Panel], list[str]]:
    """Loss, each error that is reported, learning rate; with lines for people on metrics that could not be read.

    Raises NetspecError where there is nothing to draw.
    """
    runs = [metrics_of(folder) for folder in folders]
    names = labels or run_labels(folders)
    measures = {name: one for run in runs for name, one in run.measures.items()}
    errors = dict.fromkeys(name for one in runs for name in (*one.iterations.errors, *_evaluated(one)))
    made = [
        Panel("loss", tuple(_series(names, runs, "loss"))),
        *(
            Panel(error_title(name, measures), tuple(_series(names, runs, name)), is_share(name, measures))
            for name in errors
        ),
        Panel("learning rate", tuple(_series(names, runs, "learning_rate"))),
    ]
    return [panel for panel in made if panel.series], [line for one in runs for line in one.faults]


@dataclass(frozen=True, slots=True)
class Stage:
    """How a run stood after so many epochs: means of the training since the stage before, and the validation."""

    epoch: float
    training: Mapping[str, float]
    validation: Mapping[str, float]


def stages(metrics: Metrics, most: int) -> tuple[list[str], list[Stage]]:
    """The names of what was measured, and a stage for each evaluation, or for ``most`` evenly spaced ones and the last.

    Where nothing was evaluated, stages are whole epochs.
    """
    names = ["loss", *dict.fromkeys((*metrics.iterations.errors, *_evaluated(metrics))), "learning_rate"]
    curves = {name: trained(metrics, name) for name in names}
    validated = {name: dict(_validated(metrics, name)) for name in names}
    ends = _ends(metrics, {epoch for points in validated.values() for epoch in points})
    count = min(most, len(ends))
    kept = [ends[-1 - round(i * (len(ends) - 1) / max(count - 1, 1))] for i in range(count)][::-1]
    found = []
    for start, end in zip([-1.0, *kept], kept, strict=False):
        inside = {name: [y for x, y in points if start < x <= end] for name, points in curves.items()}
        training = {name: fmean(values) for name, values in inside.items() if values}
        if rates := inside["learning_rate"]:
            training["learning_rate"] = rates[-1]
        found.append(Stage(end, training, {name: points[end] for name, points in validated.items() if end in points}))
    return names, found


def _ends(metrics: Metrics, evaluated: Iterable[float]) -> list[float]:
    """The epochs that stages end with."""
    last = metrics.iterations.iteration[-1] / metrics.iterations_per_epoch
    ends = sorted(evaluated) or [float(epoch) for epoch in range(1, int(last) + 1)]
    return ends if ends and ends[-1] >= last else [*ends, last]


def metrics_of(folder: Path) -> Metrics:
    """What a run measured. Raises NetspecError where it is no run, or one without an iteration."""
    from netspec.rundir.metrics import read_metrics

    if not folder.is_dir():
        raise NoSuchFile(f"{folder}: no such run (netspec runs lists them)")
    metrics = read_metrics(folder)
    if not metrics.iterations:
        why = "".join(f"\n  {line}" for line in metrics.faults)
        raise NetspecError(f"{folder}: nothing to draw: no iteration is in its metrics{why}")
    return metrics


def trained(metrics: Metrics, name: str) -> list[Point]:
    """The finite values of all iterations, by the epochs done after them: loss, learning_rate, or an error's name."""
    steps, per_epoch = metrics.iterations, metrics.iterations_per_epoch
    columns = {"loss": steps.loss, "learning_rate": steps.learning_rate, **steps.errors}
    pairs = zip(steps.iteration, columns.get(name, ()), strict=False)
    return [(iteration / per_epoch, value) for iteration, value in pairs if math.isfinite(value)]


def thinned(points: Sequence[Point], most: int = POINTS) -> tuple[Point, ...]:
    """At most so many points, each the mean of neighbours at the place of the last of them."""
    size = math.ceil(len(points) / most) or 1
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return tuple((group[-1][0], sum(y for _, y in group) / len(group)) for group in groups)


def _series(labels: Sequence[str], runs: Sequence[Metrics], name: str) -> Iterator[Series]:
    """The curves of each run that have points: the training's, and the validation's."""
    for number, (label, metrics) in enumerate(zip(labels, runs, strict=True)):
        points = trained(metrics, name)
        thin = _changes(points) if name == "learning_rate" else thinned(points)
        parts: tuple[tuple[Part, Iterable[Point]], ...] = ("training", thin), ("validation", _validated(metrics, name))
        for part, found in parts:
            if some := tuple(found):
                yield Series(label, number, part, some)


def _changes(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points where the value changes, and the last one: a schedule's steps are not averaged away."""
    kept = [p for last, p in zip([None, *points[:-1]], points, strict=True) if last is None or last[1] != p[1]]
    return (*(thinned(kept) if len(kept) > POINTS else kept), points[-1]) if points else ()


def _validated(metrics: Metrics, name: str) -> Iterator[Point]:
    for line in metrics.evaluations:
        value = line.get("loss") if name == "loss" else (line.get("errors") or {}).get(name)
        if value is not None:
            yield line["iteration"] / metrics.iterations_per_epoch, float(value)


def _evaluated(metrics: Metrics) -> Iterator[str]:
    for line in metrics.evaluations:
        yield from line.get("errors") or ()
