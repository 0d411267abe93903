"""The learning-rate range test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.figures import _style
from netspec.figures._base import Kind
from netspec.report.rate_range import RateRange, bounds, read_csv
from netspec.report.run_labels import Tell

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Rates(Kind):
    """Losses at rising learning rates, from the file that 'netspec lr-find SPEC -o FILE.csv' has written.

    Dots are single batches, the line their running mean; the rate that the test suggests is marked.
    """

    takes: ClassVar[str] = "FILE"
    most: ClassVar[int | None] = 1
    examples: ClassVar[tuple[str, ...]] = ("netspec figure rates rates.csv -o rates.svg",)

    def read(self, paths: Sequence[Path], labels: Sequence[str], tell: Tell) -> RateRange:
        """See Kind."""
        return read_csv(paths[0])

    def numbers(self, data: RateRange) -> Any:
        """See Kind."""
        return {"rates": data.rates, "losses": data.losses, "smoothed": data.smoothed, "suggestion": data.suggestion}

    def draw(self, data: RateRange) -> Figure:
        """See Kind."""
        figure = _style.new_figure(_style.SINGLE, 2.2)
        axes, smoothed = figure.subplots(), data.smoothed
        axes.plot(data.rates, data.losses, ".", color=_style.SOFT, markersize=2, gid="losses")
        axes.plot(data.rates, smoothed, color=_style.COLOURS[0], gid="smoothed")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        floor, top = min(data.losses), bounds(data)[1]
        axes.set_ylim(floor - 0.1 * (top - floor), top + 0.1 * (top - floor))
        if data.suggestion is not None:
            axes.axvline(data.suggestion, color=_style.COLOURS[1], linestyle=_style.DASHES[1], gid="suggestion")
            axes.set_title(f"suggestion: {data.suggestion:g}")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("loss")
        axes.grid(axis="y")
        return figure
