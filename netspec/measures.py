"""What a measured number is: its name for people, its unit, and whether less of it or more is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

SHARE = "%"
"""The unit of what is a share in [0, 1] and shown in percent."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A measured number: ``title`` for people (``top-1 error``), ``unit`` ("%": a share in [0, 1]), what is better."""

    title: str
    unit: str = SHARE
    better: Literal["lower", "higher"] = "lower"

    @property
    def short(self) -> str:
        """The title at the head of a column of errors."""
        return self.title.removesuffix(" error")

    def better_of(self, one: float, other: float) -> float:
        """The better one of two values."""
        return min(one, other) if self.better == "lower" else max(one, other)


Measures = Mapping[str, Measure]
NONE: Measures = MappingProxyType({})


def measure_of(name: str, declared: Measures = NONE) -> Measure:
    """What a number of that name is; where it is not declared, as in runs of version 0.1, by what that had."""
    return declared.get(name) or _undeclared(name)


def _undeclared(name: str) -> Measure:
    last = name.rpartition(".")[2]
    if last in ("loss", "rmse", "mae"):
        return Measure(name, "")
    rank = name.removeprefix("top")
    return Measure(f"{f'top-{rank}' if rank != name and rank.isdigit() else name} error")


def measures_from(data: Any) -> dict[str, Measure]:
    """What JSON declares, ``{name: {title, unit, better}}``; what is no such thing is passed over."""
    found = {}
    for name, one in data.items() if isinstance(data, dict) else ():
        values = [one.get(key) for key in ("title", "unit", "better")] if isinstance(one, dict) else [None]
        if all(isinstance(value, str) for value in values) and values[2] in ("lower", "higher"):
            found[name] = Measure(*values)
    return found
