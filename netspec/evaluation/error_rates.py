"""Error rates of a number of images, with their uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z95 = 1.959963984540054
"""The 97.5 % point of the standard normal distribution."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How many of so many images were errors."""

    wrong: int
    images: int

    @property
    def share(self) -> float:
        """The error rate in [0, 1]; nan of no images."""
        return self.wrong / self.images if self.images else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval of 95 %, as shares; (0, 1) of no images.

        It holds for images drawn at random, near 0 and 1 and for few images too (Wilson 1927; Brown, Cai and DasGupta
        2001, "Interval estimation for a binomial proportion").
        """
        n = self.images
        if not n:
            return 0.0, 1.0
        middle, scale = self.share + Z95**2 / (2 * n), 1 + Z95**2 / n
        half = Z95 * math.sqrt(self.share * (1 - self.share) / n + Z95**2 / (4 * n * n))
        return ((middle - half) / scale if self.wrong else 0.0), ((middle + half) / scale if self.wrong < n else 1.0)

    def as_data(self) -> dict[str, float]:
        """The figures, for JSON."""
        low, high = self.interval
        return {"wrong": self.wrong, "images": self.images, "error": self.share, "low": low, "high": high}
