"""The contract suite of initialisers: named checks that each registered one gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netspec.check.compare import Failed, finite, same_bits
from netspec.check.declared import check_docs
from netspec.check.setting_schema import check_schema
from netspec.init import Fan, Initialiser

_SHAPES = ((1, 1), (5, 3), (64, 32))
_FANS = (Fan(1, 1), Fan(363, 2400))


@dataclass(frozen=True)
class InitialiserSubject:
    """A registered initialiser and what its examples make of it."""

    name: str
    cls: type[Initialiser]

    @property
    def examples(self) -> list[Initialiser]:
        """One for each of the examples."""
        return [self.cls(attrs) for attrs in self.cls.examples]


def check_values(subject: InitialiserSubject) -> None:
    """Values are finite, float32 and of the shape that is asked for."""
    for one in subject.examples:
        for shape in _SHAPES:
            for fan in _FANS:
                found = _drawn(one, shape, fan)
                if found.shape != shape or found.dtype != np.float32:
                    raise Failed(f"draw() gives {found.dtype} {found.shape}, float32 {shape} is asked for")
                finite("values", found, "a parameter cannot begin there")


def check_seed(subject: InitialiserSubject) -> None:
    """The random numbers that are handed in decide all, and nothing is kept between calls."""
    for first, second in zip(subject.examples, subject.examples, strict=True):
        _drawn(second, (7, 7), _FANS[0])
        for shape in _SHAPES:
            rule = "the same numbers give other values: draw from 'random' alone"
            same_bits("values", _drawn(second, shape, _FANS[1]), _drawn(first, shape, _FANS[1]), rule)


CHECKS: tuple[Callable[[Any], None], ...] = (check_docs, check_schema, check_values, check_seed)
"""All checks. Each returns, or raises Failed or Skipped with the reason."""


def _drawn(one: Initialiser, shape: tuple[int, ...], fan: Fan) -> NDArray[Any]:
    return np.asarray(one.draw(np.random.Generator(np.random.Philox(key=1)), shape, fan))
