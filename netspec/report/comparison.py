"""How two runs differ: in their specs, in where they ran, in what they reached."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netspec.errors import NetspecError, Problem, SpecError
from netspec.rundir.directory import ENVIRONMENT, RESOLVED, summarise
from netspec.rundir.metrics import RECENT, Metrics, read_metrics
from netspec.rundir.run_files import Damaged, read_json, read_text
from netspec.spec.nodes import plain
from netspec.spec.reader import parse
from netspec.units import duration, error_name, error_title, error_value

_LEFT_OUT = ("command", "folder")


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that differs, by its path; None where a run has none."""

    path: str
    first: Any
    second: Any


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side; ``results`` are texts for people, ``evaluations`` errors by epoch.

    ``faults`` says, in a line each, what could not be read.
    """

    runs: tuple[str, str]
    spec: tuple[Difference, ...]
    environment: tuple[Difference, ...]
    results: tuple[Difference, ...]
    evaluations: tuple[Difference, ...]
    faults: tuple[str, ...] = ()


def compare(first: Path, second: Path) -> Comparison:
    """Compare two run directories. Raises NetspecError where one is none, or its spec cannot be read."""
    specs = [settings_of(folder) for folder in (first, second)]
    environments, faults = [], []
    for folder in (first, second):
        environment, fault = _environment(folder)
        environments.append(environment)
        faults += fault
    metrics = [read_metrics(folder) for folder in (first, second)]
    results = [_results(folder, one) for folder, one in zip((first, second), metrics, strict=True)]
    return Comparison(
        runs=(str(first), str(second)),
        spec=_unlike(*specs),
        environment=_unlike(*environments),
        results=_paired(*results),
        evaluations=_paired(*map(_evaluations, metrics)),
        faults=(*faults, *(line for one in metrics for line in one.faults)),
    )


def settings_of(folder: Path) -> dict[str, Any]:
    """The resolved spec by paths, layers by name; read as plain YAML, since its plugins may not be at hand.

    Raises NetspecError where it cannot be read.
    """
    file = folder / RESOLVED
    problems: list[Problem] = []
    try:
        node = parse(read_text(file), str(file), problems)
    except FileNotFoundError:
        raise NetspecError(f"{folder}: no run lies there (netspec runs lists them)") from None
    data = plain(node) if node is not None else None
    if problems:
        raise SpecError(problems[:1])
    if not isinstance(data, dict):
        raise Damaged(file, "is YAML, but no map of keys")
    layers = data.get("layers")
    if isinstance(layers, list) and all(isinstance(layer, dict) and "name" in layer for layer in layers):
        data["layers"] = {str(layer["name"]): layer for layer in layers}
    return dict(_flat(data))


def _environment(folder: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        data = read_json(folder / ENVIRONMENT)
    except FileNotFoundError:
        return {}, []
    except Damaged as error:
        return {}, [str(error)]
    return dict(_flat({key: value for key, value in data.items() if key not in _LEFT_OUT})), []


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _results(folder: Path, metrics: Metrics) -> dict[str, str]:
    run, steps = summarise(folder, metrics), metrics.iterations
    found = {"status": run.status, "iterations": f"{run.iteration:,}", "time": duration(run.seconds)}
    last = [loss for loss in steps.loss if math.isfinite(loss)][-RECENT:]
    if last:
        found[f"training loss, last {RECENT}"] = f"{sum(last) / len(last):.4g}"
    timed = [(speed, seconds) for speed, seconds in zip(steps.images_per_second, steps.seconds, strict=True)]
    timed = [(speed, seconds) for speed, seconds in timed if math.isfinite(speed + seconds)]
    if total := sum(seconds for _, seconds in timed):
        found["images a second"] = f"{sum(speed * seconds for speed, seconds in timed) / total:,.1f}"
    return found | {f"best {error_title(name)}": error_value(name, value, 2) for name, value in run.best.items()}


def _evaluations(metrics: Metrics) -> dict[str, str]:
    found = {}
    for line in metrics.evaluations:
        measured = line.get("errors") or {"loss": line.get("loss")}
        errors = {name: value for name, value in measured.items() if value is not None}
        texts = (f"{error_name(name)} {error_value(name, value, 2)}" for name, value in errors.items())
        found[f"epoch {line['epoch']}"] = ", ".join(texts)
    return found


def _paired(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Difference, ...]:
    paths = dict.fromkeys((*first, *second))
    return tuple(Difference(path, first.get(path), second.get(path)) for path in paths)


def _unlike(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Difference, ...]:
    return tuple(one for one in _paired(first, second) if one.first != one.second)
