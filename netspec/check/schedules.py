"""The contract suite of schedules: named checks that each registered one gets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from netspec.check.compare import Failed
from netspec.check.declared import check_docs
from netspec.check.setting_schema import check_schema
from netspec.schedules import Progress, Schedule
from netspec.spec.patterns import matches

EPOCHS, PER_EPOCH = 4, 7
_LENGTHS = (1, 2, 3, EPOCHS * PER_EPOCH)
"""Iterations of whole runs; of the longest one all epochs are gone through."""


@dataclass(frozen=True)
class ScheduleSubject:
    """A registered schedule and what its examples make of it."""

    name: str
    cls: type[Schedule]

    @property
    def examples(self) -> list[Schedule]:
        """One for each of the examples."""
        return [self.cls(attrs) for attrs in self.cls.examples]


def check_rates(subject: ScheduleSubject) -> None:
    """Rates and factors are finite numbers of at least 0 in runs of any length; tints are shares."""
    for one in subject.examples:
        for progress in _progress():
            for what, value in (("rate()", one.rate(progress)), *one.factors(progress)):
                if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                    raise Failed(f"{what} gives {value!r} at {progress}: a finite number of at least 0 is needed")
            if not 0 <= one.tint(progress.epoch) <= 1:
                raise Failed(f"tint({progress.epoch}) gives {one.tint(progress.epoch)}, which is no share")


def check_pure(subject: ScheduleSubject) -> None:
    """The progress decides all: a resumed run has the rates of one that was never stopped."""
    for first, second in zip(subject.examples, subject.examples, strict=True):
        places = list(_progress())
        found = [(first.rate(one), first.factors(one)) for one in places]
        again = [(second.rate(one), second.factors(one)) for one in reversed(places)]
        if found != again[::-1]:
            raise Failed("the same progress gives another rate after other calls: keep nothing between them")


def check_patterns(subject: ScheduleSubject) -> None:
    """Patterns that ``factors`` gives are among ``patterns``, which plans are made by."""
    for one in subject.examples:
        declared = {pattern for _, pattern in one.patterns()}
        for progress in _progress():
            for pattern, _ in one.factors(progress):
                if pattern not in declared:
                    raise Failed(f"factors() gives '{pattern}', which patterns() does not")
                matches(pattern, "layer", "weight")


CHECKS: tuple[Callable[[Any], None], ...] = (check_docs, check_schema, check_rates, check_pure, check_patterns)
"""All checks. Each returns, or raises Failed or Skipped with the reason."""


def _progress() -> Iterator[Progress]:
    for total in _LENGTHS:
        for done in range(total + 1):
            epoch = done // PER_EPOCH
            yield Progress(done, epoch, PER_EPOCH, total, tuple(0.5 + 0.1 * (n % 2) for n in range(epoch)))
