"""Learning-rate schedules: one file is one schedule, called as its file is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netspec.registry import Registry
from netspec.schedules._base import Factors, Progress, Schedule

__all__ = ["Factors", "Progress", "Schedule", "make_schedule", "schedule_types"]


_registry = Registry("schedules", Schedule, __name__, "schedule")  # type: ignore[type-abstract]


def schedule_types() -> Mapping[str, type[Schedule]]:
    """All schedules by name."""
    return _registry.types()


def make_schedule(schedule: Mapping[str, Any]) -> Schedule:
    """The schedule that a checked ``{type: ..., ...}`` describes."""
    return schedule_types()[schedule["type"]](schedule)
