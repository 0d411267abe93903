"""What is measured of a network beside what its cost layers report: the metrics of its spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from netspec.measures import Measures
from netspec.metrics import BatchSums, Metric, Totals, declared
from netspec.planning.measured import measured, truth_of
from netspec.registry import layer_types
from netspec.spec.types import Spec


@dataclass(frozen=True, slots=True)
class Measuring:
    """Metrics that are made of the network's answers, and the network input that those are compared with.

    ``declared`` says what all is that is measured, by name: what cost layers report too.
    """

    metrics: Sequence[Metric] = ()
    truth: str = ""
    declared: Measures = field(default_factory=dict)

    @classmethod
    def of(cls, spec: Spec) -> Measuring:
        """The spec's own."""
        metrics, reported = measured(spec), _reported(spec)
        truth = truth_of(spec, metrics[0].answers) if metrics else None
        return cls(metrics, truth or "", declared(["loss", *reported, *(one.type for one in metrics)]))

    def sums(self, answers: np.ndarray[Any, Any] | None, arrays: Mapping[str, np.ndarray[Any, Any]]) -> BatchSums:
        """Of a batch's rows that count, of which there are ``answers``; none where another process has them."""
        if answers is None:
            return {}
        return Totals(self.metrics).of(answers, arrays[self.truth][: len(answers)])


NOTHING = Measuring()


def _reported(spec: Spec) -> list[str]:
    """The names of what cost layers report, as in Tally."""
    costs = [layer for layer in reversed(spec.layers) if layer_types()[layer.type].reports]
    names = [(place, cost, name) for place, cost in enumerate(costs) for name in layer_types()[cost.type].reports[1:-1]]
    return [f"{cost.name}.{name}" if place else name for place, cost, name in names]
