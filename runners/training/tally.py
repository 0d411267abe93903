"""Accumulates the reports of cost layers over batches: mean loss, error rates and mean distances."""

from __future__ import annotations

from collections.abc import Mapping

from netspec.metrics import value_of_report

Reports = Mapping[str, Mapping[str, float]]
_NOT_ERRORS = ("loss", "count", "weight")


class Tally:
    """Adds reports up: ``loss`` is the weighted sum of the cost layers' means, ``errors`` by name are means too.

    The last cost layer's errors have their plain names (top1, top5), since it is the network's answer; those of others
    before it are ``layer.top1``.
    """

    def __init__(self, reports: Reports | None = None) -> None:
        self._sums: dict[str, dict[str, float]] = {}
        if reports:
            self.add(reports)

    def add(self, reports: Reports) -> None:
        """Add the sums of one batch."""
        for layer, report in reports.items():
            sums = self._sums.setdefault(layer, dict.fromkeys(report, 0.0))
            for name, value in report.items():
                sums[name] = value if name == "weight" else sums[name] + value

    @property
    def count(self) -> int:
        """Images counted."""
        return round(next(iter(self._sums.values()), {}).get("count", 0))

    @property
    def loss(self) -> float:
        """Mean loss of an image; nan when nothing was counted."""
        if not self.count:
            return float("nan")
        return sum(sums.get("weight", 1.0) * sums["loss"] / sums["count"] for sums in self._sums.values())

    @property
    def errors(self) -> dict[str, float]:
        """Each error's share of the images, or the mean of distances; see netspec.metrics."""
        found: dict[str, float] = {}
        for place, (layer, sums) in enumerate(reversed(self._sums.items())):
            for name, value in sums.items():
                if name not in _NOT_ERRORS and sums["count"]:
                    found[f"{layer}.{name}" if place else name] = value_of_report(name, value, sums["count"])
        return found
