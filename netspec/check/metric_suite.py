"""The contract suite of metrics: named checks that each registered one gets, with answers made up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from netspec.check.compare import Failed, Skipped
from netspec.check.declared import check_docs
from netspec.check.setting_schema import check_schema
from netspec.metrics import Answers, Metric, Sums, Truth

IMAGES, WIDTHS = 24, (1, 3, 7)
"""How many images there are, and how many classes or numbers an answer has."""
_CLOSE = 1e-9
"""Relative: sums in float64, in another order."""


@dataclass(frozen=True)
class MetricSubject:
    """A registered metric and what its examples make of it."""

    name: str
    cls: type[Metric]

    def cases(self) -> Iterator[tuple[Metric, Answers, Truth]]:
        """One for each of the examples, with answers of several widths. Raises Skipped where it needs none."""
        if self.cls.answers == "reports":
            raise Skipped("a cost layer sums it up")
        random = np.random.default_rng(0)
        for settings in self.cls.examples:
            for width in WIDTHS:
                yield self.cls(settings), *_drawn(random, self.cls.answers, width)


def _drawn(random: np.random.Generator, kind: str, width: int) -> tuple[Answers, Truth]:
    """Answers, and what is so; of some classes there are no images."""
    if kind == "numbers":
        return tuple(random.standard_normal((IMAGES, width)).astype(np.float32) for _ in range(2))  # type: ignore[return-value]
    scores = random.random((IMAGES, width)) + 1e-3
    labels = random.integers(0, max(width - 1, 1), IMAGES).astype(np.int32)
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32), labels


def check_declared(subject: MetricSubject) -> None:
    """What it is made of, its unit and what is better are words that are known."""
    one = subject.cls
    for name, known in (("answers", ("classes", "numbers", "reports")), ("better", ("lower", "higher"))):
        if getattr(one, name, None) not in known:
            raise Failed(f"{name} = {getattr(one, name, None)!r}: write one of {', '.join(map(repr, known))}")
    if not isinstance(one.unit, str) or not isinstance(one.title, str):
        raise Failed("unit and title are texts")


def check_value(subject: MetricSubject) -> None:
    """``sums`` gives float64 of one shape, ``value`` a finite number of it: of a share one in [0, 1]."""
    for one, answers, truth in subject.cases():
        sums = _sums(one, answers, truth)
        if (other := _sums(one, answers[:5], truth[:5])).shape != sums.shape:
            raise Failed(f"sums() gives the shape {sums.shape} for {IMAGES} images and {other.shape} for 5")
        value = one.value(sums)
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise Failed(f"value() gives {value!r}: a finite number is needed")
        if one.unit == "%" and not -_CLOSE <= value <= 1 + _CLOSE:
            raise Failed(f"value() gives {value:g}, which is no share in [0, 1] (unit is %)")


def check_added(subject: MetricSubject) -> None:
    """The sums of batches add up to those of the whole set, whatever the batches: the last one is a part of one."""
    for one, answers, truth in subject.cases():
        whole = _sums(one, answers, truth)
        for size in (1, 5, IMAGES - 1):
            starts = range(0, IMAGES, size)
            added = sum(_sums(one, answers[at : at + size], truth[at : at + size]) for at in starts)
            if not np.allclose(added, whole, rtol=_CLOSE, atol=_CLOSE):
                raise Failed(
                    f"batches of {size} add up to {_shown(added)}, the whole set to {_shown(whole)}: sums over images "
                    "are needed, and what is no sum is made in value()"
                )


def check_order(subject: MetricSubject) -> None:
    """The order of the images does not matter."""
    for one, answers, truth in subject.cases():
        order = np.random.default_rng(1).permutation(IMAGES)
        if not np.allclose(_sums(one, answers[order], truth[order]), _sums(one, answers, truth), _CLOSE, _CLOSE):
            raise Failed("the same images in another order have other sums")


def check_pure(subject: MetricSubject) -> None:
    """The images decide all: nothing is kept from call to call, and what is handed in stays as it is."""
    for one, answers, truth in subject.cases():
        before = answers.copy(), truth.copy()
        first = _sums(one, answers, truth).tobytes()
        _sums(one, answers[:3], truth[:3])
        if _sums(one, answers, truth).tobytes() != first:
            raise Failed("the same images have other sums after other calls: keep nothing between them")
        if not (np.array_equal(answers, before[0]) and np.array_equal(truth, before[1])):
            raise Failed("sums() alters what it is handed: copy first")


CHECKS: Sequence[Callable[[Any], None]] = (
    check_docs,
    check_declared,
    check_schema,
    check_value,
    check_added,
    check_order,
    check_pure,
)
"""All checks. Each returns, or raises Failed or Skipped with the reason."""


def _sums(one: Metric, answers: Answers, truth: Truth) -> Sums:
    found = one.sums(answers, truth)
    if not isinstance(found, np.ndarray) or found.dtype != np.float64:
        kind = f"an array of {found.dtype}" if isinstance(found, np.ndarray) else f"a {type(found).__name__}"
        raise Failed(f"sums() gives {kind}: an array of float64 is needed")
    return found


def _shown(sums: Any) -> str:
    return ", ".join(f"{value:g}" for value in np.ravel(sums)[:4])
