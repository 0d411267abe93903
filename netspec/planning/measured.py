"""What can be measured of a network: which metrics its answers give, and what those are compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netspec.errors import Mark, Problem
from netspec.metrics import Metric, make_metric, metric_types
from netspec.planning.build import NUMBERS
from netspec.planning.identities import BufferKey
from netspec.planning.network import label_of
from netspec.registry import layer_types
from netspec.spec.types import LayerSpec, Spec


def truth_of(spec: Spec, kind: str) -> str | None:
    """The network input that answers are compared with: labels of "classes", targets of "numbers"; None without one.

    It is what the last cost layer reads, whose answer is the network's.
    """
    cost = _last_cost(spec)
    if cost is None:
        return None
    if kind == "classes":
        label = label_of(spec, cost)
        return label.source if label else None
    names = layer_types()[cost.type].inputs
    found = (one.source for name, one in zip(names, cost.inputs, strict=False) if name == "target")
    return next((source for source in found if source in spec.inputs), None)


def _last_cost(spec: Spec) -> LayerSpec | None:
    return next((layer for layer in reversed(spec.layers) if layer_types()[layer.type].reports), None)


def measured(spec: Spec) -> list[Metric]:
    """The metrics of the spec that are made of answers: all but what the last cost layer reports itself."""
    reported = _reported(spec)
    return [make_metric(one) for one in spec.train.metrics if one["type"] not in reported]


def _reported(spec: Spec) -> Sequence[str]:
    cost = _last_cost(spec)
    return layer_types()[cost.type].reports if cost else ()


def metric_problems(spec: Spec, answer: BufferKey | None) -> Iterator[Problem]:
    """Metrics that this network gives nothing for."""
    kind = "numbers" if answer is not None and answer.of.tensor == NUMBERS else "classes"
    truth = {"classes": "label", "numbers": "target"}[kind]
    for place, one in enumerate(spec.train.metrics):
        if one["type"] in _reported(spec):
            continue
        name, of = one["type"], metric_types()[one["type"]].answers
        if of == "reports":
            why = "is a cost layer's own, and the last one reports no such thing"
        elif answer is None or of != kind:
            why = f"is measured of {of}, and the network gives {kind if answer else 'neither classes nor numbers'}"
        elif truth_of(spec, kind) is None:
            why = f"needs a {truth} among the network's inputs, and the last cost layer reads none"
        else:
            continue
        fitting = [known for known, cls in metric_types().items() if cls.answers == kind]
        yield Problem(_mark(spec, place), f"'{name}' {why}", f"there are: {', '.join(fitting)}")


def _mark(spec: Spec, place: int) -> Mark:
    """Where a metric is listed."""
    paths = (f"train.metrics.{place}", "train.metrics", "train")
    return next((spec.marks[path] for path in paths if path in spec.marks), spec.mark)
