"""Whether two networks differ by more than noise on the same images: McNemar's test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.05
"""Differences of a lower p are called more than noise."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Two networks on the same images: how many only the first gets wrong, how many only the second.

    ``p`` is McNemar's, ``adjusted`` the same by Holm's method over all pairs that were compared.
    """

    first: str
    second: str
    only_first_wrong: int
    only_second_wrong: int
    images: int
    p: float
    adjusted: float

    @property
    def share(self) -> float:
        """The first's error rate minus the second's."""
        return (self.only_first_wrong - self.only_second_wrong) / self.images if self.images else 0.0

    @property
    def significant(self) -> bool:
        """Whether it is more than noise, at 5 % over all pairs together."""
        return self.adjusted < LEVEL


def mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided mid-p value of McNemar's exact test.

    Images that both get right, or both wrong, say nothing. Of the others each is as likely to be the one's error as the
    other's if the networks are equally good, so the count is binomial with n trials and 1/2. The mid-p counts half of
    the probability of what was found (Fagerland, Lydersen and Laake 2013, "The McNemar test for binary matched-pairs
    data", who recommend it: the exact test itself is conservative, the asymptotic one is not to be trusted when few
    images differ).
    """
    trials, fewer = only_first + only_second, min(only_first, only_second)
    if only_first == only_second:
        return 1.0 - _binomial(trials, fewer) / 2 if trials else 1.0
    below = math.fsum(_binomial(trials, count) for count in range(fewer))
    return min(2 * below + _binomial(trials, fewer), 1.0)


def _binomial(trials: int, count: int) -> float:
    """The probability of so many heads of a fair coin."""
    ways = math.lgamma(trials + 1) - math.lgamma(count + 1) - math.lgamma(trials - count + 1)
    return math.exp(ways - trials * math.log(2))


def holm(values: Sequence[float]) -> list[float]:
    """p values adjusted for having looked at all of them (Holm 1979): the k-th smallest of n counts n - k + 1 times."""
    adjusted, highest = [0.0] * len(values), 0.0
    for done, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min((len(values) - done) * values[place], 1.0))
        adjusted[place] = highest
    return adjusted
