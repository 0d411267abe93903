"""Several metrics over a set, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from netspec.contract.source_place import file_of, raised_at
from netspec.errors import NetspecError
from netspec.metrics._base import Answers, Metric, Sums, Truth

if TYPE_CHECKING:
    from collections.abc import Callable

BatchSums = Mapping[str, Sums]
"""The sums of some images by the metric's name."""


class Totals:
    """Adds up sums of batches in the order in which they come.

    Each image is in one batch, whole batches are summed up by one process, and their sums are added in the order of the
    batches: so numbers do not depend, to the bit, on how many processes there are.
    """

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = {one.type: one for one in metrics}
        self._sums: dict[str, Any] = {}

    def __bool__(self) -> bool:
        """Whether anything is measured."""
        return bool(self._metrics)

    def of(self, answers: Answers, truth: Truth) -> BatchSums:
        """The sums of some images. Raises NetspecError where a metric fails, with its line."""
        return {name: _called(one, one.sums, answers, truth) for name, one in self._metrics.items()}

    def add(self, sums: BatchSums) -> None:
        """Add those of a batch."""
        for name, some in sums.items():
            self._sums[name] = self._sums[name] + some if name in self._sums else some

    def values(self) -> dict[str, float]:
        """Each number over all that was added."""
        found = ((self._metrics[name], sums) for name, sums in self._sums.items())
        return {one.type: float(_called(one, one.value, sums)) for one, sums in found}


def _called(metric: Metric, function: Callable[..., Any], *given: Any) -> Any:
    try:
        return function(*given)
    except Exception as error:
        where = raised_at(error, file_of(type(metric)) or "")
        at = f"{where}: " if where else ""
        raise NetspecError(f"{at}metric '{metric.type}': {type(error).__name__}: {error}") from error
