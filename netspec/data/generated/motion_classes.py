"""The classes of generated sequences: eight directions in which a shape moves."""

from __future__ import annotations

from typing import NamedTuple


class MotionClass(NamedTuple):
    """A class: the steps to the right and down between two frames, in units of a sequence's own step."""

    name: str
    right: float
    down: float


_MOTIONS = (
    MotionClass("right", 1, 0),
    MotionClass("left", -1, 0),
    MotionClass("down", 0, 1),
    MotionClass("up", 0, -1),
    MotionClass("down-right", 0.71, 0.71),
    MotionClass("up-left", -0.71, -0.71),
    MotionClass("down-left", -0.71, 0.71),
    MotionClass("up-right", 0.71, -0.71),
)
MOST = len(_MOTIONS)


def motion_classes(count: int) -> tuple[MotionClass, ...]:
    """The first ``count`` of the eight, sorted by name."""
    return tuple(sorted(_MOTIONS[:count]))
