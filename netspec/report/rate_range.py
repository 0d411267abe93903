"""The learning-rate range test (Smith 2017, section 3.3): losses at rising rates, and the rate that they suggest."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

from netspec.errors import NetspecError, NoSuchFile
from netspec.report.tables import Table, table
from netspec.units import significant

RULE = "the middle of the decade of rates in which the loss falls most steeply (least squares over the logarithm)"
"""How the suggestion is found, for people."""
COLUMNS = ("learning_rate", "loss", "smoothed_loss")

_KEPT = 0.9
"""Share of the running mean that the next loss leaves."""
_DIVERGED = 4.0
"""A running mean of so many times the lowest one is a loss that diverges, as in fastai."""
_CERTAIN = 4.0
"""Standard errors by which the lowest decade must lie below the first: of many decades of noise one may be at three."""
_FEWEST = 5
"""Losses that a line is laid through at least."""


@dataclass(frozen=True, slots=True)
class RateRange:
    """Losses of batches, each at a higher rate than the one before, and why there are no more of them.

    ``exit_code`` is 130 and the like after a signal, else 0.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    ended: str = ""
    exit_code: int = 0

    @property
    def smoothed(self) -> tuple[float, ...]:
        """The running mean of the losses, with the bias of its start corrected, as Adam has it."""
        means, mean = [], 0.0
        for count, loss in enumerate(self.losses, 1):
            mean = _KEPT * mean + (1 - _KEPT) * loss
            means.append(mean / (1 - _KEPT**count))
        return tuple(means)

    @property
    def diverges(self) -> bool:
        """Whether the last loss has left the lowest one far behind."""
        means = self.smoothed
        return bool(means) and means[-1] > _DIVERGED * min(means)

    @property
    def suggestion(self) -> float | None:
        """The rate to train with, of two digits, see RULE; None where the loss falls nowhere beyond what is chance."""
        lines = self._lines()
        if not lines or lines[0].height - min(line.height for line in lines) <= _CERTAIN * _error(lines):
            return None
        return float(f"{10 ** min(lines, key=lambda line: line.slope).middle:.2g}")

    def _lines(self) -> list[_Line]:
        """The lines through all windows, by their first rate."""
        logs, lines = [math.log10(rate) for rate in self.rates], []
        for start, first in enumerate(logs):
            window = [place for place in range(start, len(logs)) if logs[place] <= first + self._window + 1e-9]
            if len(window) >= _FEWEST and logs[window[-1]] >= first + 0.8 * self._window:
                lines.append(_line([logs[i] for i in window], [self.losses[i] for i in window]))
        return lines

    @property
    def _window(self) -> float:
        """Width of a window in decades: one, or half of a narrower range."""
        return min(1.0, (math.log10(self.rates[-1]) - math.log10(self.rates[0])) / 2) if self.rates else 1.0

    def as_csv(self) -> str:
        """A row for each rate."""
        text = io.StringIO()
        rows = zip(self.rates, self.losses, self.smoothed, strict=True)
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
        return text.getvalue()


class _Line(NamedTuple):
    """A least-squares line: its slope, its middle, the mean there, and the standard error of that mean."""

    slope: float
    middle: float
    height: float
    error: float


def _line(x: Sequence[float], y: Sequence[float]) -> _Line:
    middle, height = fmean(x), fmean(y)
    spread = sum((one - middle) ** 2 for one in x)
    slope = sum((one - middle) * (other - height) for one, other in zip(x, y, strict=True)) / spread
    misses = (other - height - slope * (one - middle) for one, other in zip(x, y, strict=True))
    return _Line(slope, middle, height, math.sqrt(sum(miss**2 for miss in misses) / (len(x) - 2) / len(x)))


def _error(lines: Sequence[_Line]) -> float:
    """Standard error of the difference of two windows' means; by the median, which what diverges does not move."""
    return math.sqrt(2) * median(line.error for line in lines)


def read_csv(path: Path) -> RateRange:
    """What ``as_csv`` has written. Raises NetspecError."""
    try:
        rows = list(csv.DictReader(path.read_text().splitlines()))
        rates, losses = ([float(row[name]) for row in rows] for name in COLUMNS[:2])
    except FileNotFoundError:
        raise NoSuchFile(f"{path}: no such file") from None
    except (KeyError, TypeError, ValueError, UnicodeDecodeError):
        raise NetspecError(f"{path}: not what 'netspec lr-find -o FILE.csv' writes") from None
    if not rows or not all(rate > 0 and math.isfinite(loss) for rate, loss in zip(rates, losses, strict=True)):
        raise NetspecError(f"{path}: there are no rates and losses in it")
    return RateRange(tuple(rates), tuple(losses))


def bounds(found: RateRange) -> tuple[float, float]:
    """The losses between which a curve is drawn: what diverges leaves it at the top."""
    losses = found.smoothed
    floor, least = min(losses), 1e-6 * max(abs(min(losses)), 1.0)
    return floor, max(min(max(losses), floor + 1.5 * (losses[0] - floor)), floor + least)


def summary(found: RateRange, most: int = 16) -> Table:
    """Losses and their running means at so many rates at even distances, the first and the last among them."""
    points = list(zip(found.rates, found.losses, found.smoothed, strict=True))
    count = min(most, len(points))
    places = [round(i * (len(points) - 1) / max(count - 1, 1)) for i in range(count)]
    columns = ["learning rate", "loss", "running mean"]
    return table(columns, [[significant(value, 3) for value in points[place]] for place in places], right=columns)
