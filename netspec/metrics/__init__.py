"""Metrics: what is measured of a network's answers over a whole set; one file is one, called as its file is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from netspec.measures import Measure, measure_of
from netspec.metrics._base import Answers, Metric, Sums, Truth
from netspec.metrics._totals import BatchSums, Totals
from netspec.registry import Registry

__all__ = [
    "Answers",
    "BatchSums",
    "Metric",
    "Sums",
    "Totals",
    "Truth",
    "decisive",
    "declared",
    "make_metric",
    "metric_types",
    "score_of",
    "tells",
    "value_of_report",
]


_registry = Registry("metrics", Metric, __name__, "metric")


def metric_types() -> Mapping[str, type[Metric]]:
    """All metrics by name."""
    return _registry.types()


def make_metric(settings: Mapping[str, Any]) -> Metric:
    """The metric that a checked ``{type: ..., ...}`` describes."""
    return metric_types()[settings["type"]](settings)


def declared(names: Iterable[str]) -> dict[str, Measure]:
    """What numbers of these names are; of ``layer.NAME``, which another cost layer reports, what NAME is."""
    found, types = {}, metric_types()
    for name in names:
        layer, _, plain = name.rpartition(".")
        cls = types.get(plain)
        own = measure_of(name) if cls is None else cls.measure()
        found[name] = replace(own, title=f"{layer} {own.title}") if cls and layer else own
    return found


def tells(name: str, classes: int) -> bool:
    """Whether a cost layer's report of that name says anything of a network of so many classes."""
    cls = metric_types().get(name)
    return cls is None or cls.tells(classes)


def decisive(metrics: Sequence[Mapping[str, Any]], errors: Mapping[str, float]) -> str:
    """What the best checkpoint, plateau schedules and early stopping go by: the first of a spec's metrics.

    Without any, the top-1 error where it is reported, else the loss.
    """
    return str(metrics[0]["type"]) if metrics else "top1" if "top1" in errors else "loss"


def score_of(name: str, loss: float, errors: Mapping[str, float]) -> float:
    """A number of which less is better, made of that one; infinite where it, or the loss, is not finite."""
    value = loss if name == "loss" else errors.get(name, math.nan)
    if not math.isfinite(value) or not math.isfinite(loss):
        return math.inf
    return -value if declared([name])[name].better == "higher" else value


def value_of_report(name: str, total: float, count: float) -> float:
    """What a cost layer's sum over so many rows comes to: a metric of that name says how, else it is the mean."""
    cls = metric_types().get(name)
    return total / count if cls is None else cls.of_report(total, count)
