"""Confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import choice, integer
from netspec.errors import NetspecError
from netspec.figures import _style
from netspec.figures._base import Kind
from netspec.figures._sources import IMAGES, asked_of, listener, run_of, spoken, words_at
from netspec.report.run_labels import Tell, run_labels
from netspec.units import many, percent

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Array = np.ndarray[Any, Any]

_NARROW, _NUMBERED = 12, 16
"""Up to so many classes take one column of a page, and have numbers in their cells."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Counts of images by class (rows) and by the class that they were taken for (columns).

    Where not all classes are shown the last column is all the others; ``classes`` counts all of them.
    """

    title: str
    names: tuple[str, ...]
    counts: Array
    classes: int
    error: float

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self.names if self.counts.shape[1] == len(self.names) else (*self.names, "others")


class ConfusionMatrix(Kind):
    """Which classes are taken for which: shares of each class's images, on the centre crop, or on two or ten views.

    Of several runs the probabilities are averaged. Of more classes than --classes those with the most errors are shown,
    with the rest in one column, so that rows are complete.
    """

    of_folder = "newest"
    attrs: ClassVar = {
        "classes": integer("Classes shown at most.", default=30, minimum=2, maximum=100),
        "views": choice("1", "2", "10", description="Views of each image that are averaged.", default="1"),
        **IMAGES,
    }
    examples: ClassVar[tuple[str, ...]] = (
        "netspec figure confusion runs/quickstart/* -o confusion.svg",
        "netspec figure confusion RUN --data imagenet/ --views 10 -o confusion.pdf",
    )

    def read(self, paths: Sequence[Path], labels: Sequence[str], tell: Tell) -> Matrix:
        """See Kind."""
        from netspec.runners.scoring import evaluate_networks, need_classes

        need_classes(paths)
        asked = replace(asked_of(self.settings), views=int(self.settings["views"]))
        done = evaluate_networks(paths, asked, listener(tell))
        if done.results is None:
            raise NetspecError(f"{paths[0]}: the network gives no class probabilities")
        networks = ", ".join(labels or run_labels(list(map(run_of, paths))))
        title = f"{networks}: {many(done.images, 'image')}"
        names = spoken(done.classes, words_at(paths[0]))
        return chosen(title, names, done.confusion, self.settings["classes"], done.errors["top1"])

    def numbers(self, data: Matrix) -> Any:
        """Names and counts."""
        named = {"title": data.title, "rows": data.names, "columns": data.columns, "top1": data.error}
        return {**named, "counts": data.counts.tolist()}

    def lines(self, data: Matrix) -> list[str]:
        """The error."""
        return [f"{data.title}: top-1 error {percent(data.error)}"]

    def draw(self, data: Matrix) -> Figure:
        """Darker cells are larger shares of their row."""
        from matplotlib.colors import LinearSegmentedColormap

        few = len(data.names) <= _NUMBERED
        wide, most = (_style.SINGLE, 22) if len(data.names) <= _NARROW else (_style.DOUBLE, 26)
        figure = _style.new_figure(wide, 0.35 + 0.95 * wide)
        axes, colours = figure.subplots(), LinearSegmentedColormap.from_list("share", ["white", _style.COLOURS[0]])
        shares = data.counts / data.counts.sum(axis=1, keepdims=True).clip(1)
        image = axes.imshow(shares, cmap=colours, vmin=0, vmax=1, interpolation="none", aspect="auto")
        if few:
            _write_shares(axes, shares)
        else:
            _style.percent_axis(figure.colorbar(image, ax=axes, fraction=0.02, pad=0.01).ax.yaxis)
        size = _style.SMALL if few else max(4.0, 6.5 - len(data.names) / 25)
        look: dict[str, Any] = {"fontsize": size}
        rows = [f"{_style.shortened(name, most)} ({count:,})" for name, count in _totals(data)]
        axes.set_yticks(range(len(rows)), rows, **look)
        columns = [_style.shortened(name, most) for name in data.columns]
        axes.set_xticks(range(len(columns)), columns, rotation=90, **look)
        axes.tick_params(length=0)
        axes.set_ylabel("class (images)")
        axes.set_xlabel("taken for" + (", % of the class" if few else ""))
        told = [_style.shortened(data.title, 44 if wide == _style.SINGLE else 90), f"top-1 error {percent(data.error)}"]
        if data.classes > len(data.names):
            told.append(f"the {len(data.names)} of {many(data.classes, 'class')} with most errors")
        figure.suptitle("\n".join(told), fontsize=7, x=0.01, ha="left")
        return figure


def chosen(title: str, names: Sequence[str], counts: Array, most: int, error: float) -> Matrix:
    """The classes that have images, or those of most errors in the order of all; ``counts`` is (classes, classes)."""
    import numpy as np

    errors = counts.sum(axis=1) - np.diag(counts)
    there = np.flatnonzero(counts.sum(axis=1) + counts.sum(axis=0))
    kept = there if len(there) <= most else np.sort(there[np.argsort(-errors[there], kind="stable")[:most]])
    part = counts[np.ix_(kept, kept)]
    rest = counts[kept].sum(axis=1) - part.sum(axis=1)
    part = np.column_stack([part, rest]) if len(kept) < len(there) else part
    return Matrix(title, tuple(names[one] for one in kept), part, len(there), error)


def _totals(data: Matrix) -> list[tuple[str, int]]:
    return list(zip(data.names, data.counts.sum(axis=1).tolist(), strict=True))


def _write_shares(axes: Axes, shares: Array) -> None:
    for (row, column), share in _cells(shares):
        ink = "white" if share > 0.55 else _style.INK
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=_style.SMALL, color=ink)


def _cells(shares: Array) -> list[tuple[tuple[int, int], float]]:
    """The cells whose number is not 0 when rounded."""
    rows, columns = shares.shape
    cells = [((row, column), float(shares[row, column])) for row in range(rows) for column in range(columns)]
    return [(place, share) for place, share in cells if share >= 0.005]
