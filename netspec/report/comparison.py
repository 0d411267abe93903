"""How two runs differ: in their specs, in where they ran, in what they reached."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netspec.errors import NetspecError
from netspec.report.units import duration, error_name, percent

_LEFT_OUT = ("command", "folder")
_ABSENT = "-"


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that differs, by its path; None where a run has none."""

    path: str
    first: Any
    second: Any


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side; ``results`` are texts for people, ``evaluations`` errors by epoch."""

    runs: tuple[str, str]
    spec: tuple[Difference, ...]
    environment: tuple[Difference, ...]
    results: tuple[Difference, ...]
    evaluations: tuple[Difference, ...]


def compare(first: Path, second: Path) -> Comparison:
    """Compare two run directories. Raises NetspecError where one is none."""
    for folder in (first, second):
        if not (folder / "spec.resolved.yaml").is_file():
            raise NetspecError(f"{folder}: no run lies there (netspec runs lists them)")
    return Comparison(
        runs=(str(first), str(second)),
        spec=_unlike(_spec(first), _spec(second)),
        environment=_unlike(_environment(first), _environment(second)),
        results=_paired(_results(first), _results(second)),
        evaluations=_paired(_evaluations(first), _evaluations(second)),
    )


def _spec(folder: Path) -> dict[str, Any]:
    """The resolved spec by paths, layers by name; read as plain YAML, since its plugins may not be at hand."""
    import yaml

    try:
        data = yaml.safe_load((folder / "spec.resolved.yaml").read_text("utf-8"))
        data["layers"] = {layer["name"]: layer for layer in data.get("layers", ())}
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise NetspecError(f"{folder / 'spec.resolved.yaml'}: damaged: {error}") from error
    return dict(_flat(data))


def _environment(folder: Path) -> dict[str, Any]:
    try:
        data = json.loads((folder / "environment.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(_flat({key: value for key, value in data.items() if key not in _LEFT_OUT}))


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _results(folder: Path) -> dict[str, str]:
    from netspec.rundir.directory import summary
    from netspec.rundir.metrics import read_metrics

    run, lines = summary(folder), read_metrics(folder)
    steps = [line for line in lines if line["event"] == "iteration" and line.get("loss") is not None]
    found = {"status": run.status, "iterations": f"{run.iteration:,}", "time": duration(run.seconds)}
    if steps:
        last = steps[-50:]
        found["training loss, last 50"] = f"{sum(line['loss'] for line in last) / len(last):.4g}"
        seconds = sum(line["seconds"] for line in steps)
        images = sum(line["images_per_second"] * line["seconds"] for line in steps)
        found["images a second"] = f"{images / seconds:,.1f}" if seconds else _ABSENT
    return found | {f"best {error_name(name)} error": percent(value, 2) for name, value in run.best.items()}


def _evaluations(folder: Path) -> dict[str, str]:
    from netspec.rundir.metrics import read_metrics

    found = {}
    for line in read_metrics(folder):
        if line["event"] == "evaluation":
            errors = (f"{error_name(name)} {percent(value, 2)}" for name, value in (line["errors"] or {}).items())
            found[f"epoch {line['epoch']}"] = ", ".join(errors)
    return found


def _paired(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Difference, ...]:
    paths = dict.fromkeys((*first, *second))
    return tuple(Difference(path, first.get(path), second.get(path)) for path in paths)


def _unlike(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Difference, ...]:
    return tuple(one for one in _paired(first, second) if one.first != one.second)
