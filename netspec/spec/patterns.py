"""Patterns that name layers or parameters: ``conv1``, ``conv*``, ``conv1.weight``, ``*.bias``."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TypeVar

Value = TypeVar("Value")


def matches(pattern: str, layer: str, param: str) -> bool:
    """Whether a pattern names a parameter: by its layer, or, with a dot, by layer and parameter."""
    return fnmatchcase(f"{layer}.{param}" if "." in pattern else layer, pattern)


def last_match(patterns: Iterable[tuple[str, Value]], layer: str, param: str) -> Value | None:
    """The value of the last pattern that names the parameter; None where none does."""
    found = [value for pattern, value in patterns if matches(pattern, layer, param)]
    return found[-1] if found else None


def unknown(pattern: str, layers: Iterable[str]) -> bool:
    """Whether the part of a pattern before its dot names none of the layers."""
    wanted = pattern.partition(".")[0]
    return not any(fnmatchcase(name, wanted) for name in layers)
