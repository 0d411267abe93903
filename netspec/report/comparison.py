"""How two runs differ: in their specs, in where they ran, in what they reached."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netspec.errors import NoSuchFile, Problem, SpecError
from netspec.measures import NONE, Measures
from netspec.rundir.directory import ENVIRONMENT, RESOLVED, summarise
from netspec.rundir.metrics import RECENT, Metrics, read_metrics
from netspec.rundir.run_files import Damaged, read_json, read_text
from netspec.spec.nodes import plain
from netspec.spec.reader import parse
from netspec.units import duration, error_name, error_title, error_value, rate, significant

_LEFT_OUT = ("command", "folder")


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that differs, by its path; None where a run has none."""

    path: str
    first: Any
    second: Any


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side; ``results`` by name, ``evaluations`` errors by epoch; ``as_text`` shows them.

    ``faults`` says, in a line each, what could not be read; ``metrics`` what was measured.
    """

    runs: tuple[str, str]
    spec: tuple[Difference, ...]
    environment: tuple[Difference, ...]
    results: tuple[Difference, ...]
    evaluations: tuple[Difference, ...]
    faults: tuple[str, ...] = ()
    metrics: Measures = field(default_factory=dict)


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
        metrics={name: one for run in metrics for name, one in run.measures.items()},
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
        raise NoSuchFile(f"{folder}: no such run (netspec runs lists them)") from None
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


def _results(folder: Path, metrics: Metrics) -> dict[str, Any]:
    run, steps = summarise(folder, metrics), metrics.iterations
    found: dict[str, Any] = {"status": run.status, "iterations": run.iteration, "time": run.seconds}
    last = [loss for loss in steps.loss if math.isfinite(loss)][-RECENT:]
    if last:
        found[f"{_LOSS}, last {RECENT}"] = sum(last) / len(last)
    timed = [(speed, seconds) for speed, seconds in zip(steps.images_per_second, steps.seconds, strict=True)]
    timed = [(speed, seconds) for speed, seconds in timed if math.isfinite(speed + seconds)]
    if total := sum(seconds for _, seconds in timed):
        found["images a second"] = sum(speed * seconds for speed, seconds in timed) / total
    return found | {f"{_BEST} {error_title(name, run.metrics)}": value for name, value in run.best.items()}


_LOSS, _BEST = "training loss", "best"


def as_text(path: str, value: Any, declared: Measures = NONE) -> str:
    """A value of a Difference for people; ``-`` where a run has none. ``declared`` says what was measured."""
    if value is None:
        return "-"
    if isinstance(value, Errors):
        told = ((error_name(name, declared), error_value(name, one, 2, declared)) for name, one in value.items())
        return ", ".join(f"{name} {one}" for name, one in told)
    if path.startswith(_BEST):
        title, by_title = path.removeprefix(f"{_BEST} "), {one.title: one for one in declared.values()}
        return error_value(title if title in by_title else title.removesuffix(" error"), value, 2, by_title)
    if path.startswith(_LOSS):
        return significant(value)
    ways: dict[str, Callable[[Any], str]] = {"time": duration, "images a second": rate, "iterations": "{:,}".format}
    return ways.get(path, str)(value)


class Errors(dict[str, float]):
    """What one evaluation measured, by name."""


def _evaluations(metrics: Metrics) -> dict[str, Errors]:
    return {
        f"epoch {line['epoch']}": Errors(
            (name, value)
            for name, value in (line.get("errors") or {"loss": line.get("loss")}).items()
            if value is not None
        )
        for line in metrics.evaluations
    }


def _paired(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Difference, ...]:
    paths = dict.fromkeys((*first, *second))
    return tuple(Difference(path, first.get(path), second.get(path)) for path in paths)


def _unlike(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Difference, ...]:
    return tuple(one for one in _paired(first, second) if one.first != one.second)
