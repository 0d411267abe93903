"""The same rate throughout."""

from __future__ import annotations

from netspec.schedules._base import Progress, Schedule


class Constant(Schedule):
    """rate = 1"""

    def rate(self, progress: Progress) -> float:
        """Always 1."""
        return 1.0
