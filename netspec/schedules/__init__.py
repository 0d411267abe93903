"""Learning-rate schedules: one file is one schedule, found by its file name."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import Any

from netspec.registry.discover import classes_in
from netspec.schedules._base import Factors, Progress, Schedule

__all__ = ["Factors", "Progress", "Schedule", "make_schedule", "schedule_types"]


@functools.cache
def schedule_types() -> Mapping[str, type[Schedule]]:
    """All schedules by name."""
    return classes_in(sys.modules[__name__], Schedule)  # type: ignore[type-abstract]


def make_schedule(schedule: Mapping[str, Any]) -> Schedule:
    """The schedule that a checked ``{type: ..., ...}`` describes."""
    return schedule_types()[schedule["type"]](schedule)
