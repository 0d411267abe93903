"""Figure 4 of the paper, left."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import integer
from netspec.errors import NetspecError, printable
from netspec.events import Listener
from netspec.figures import _style
from netspec.figures._base import Kind
from netspec.figures._sources import IMAGES, asked_of, listener, spoken, trained_at
from netspec.report.run_labels import Tell
from netspec.units import percent

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from netspec.runners.trained import Trained

_COLUMNS, _BARS = 4, 5
_RIGHT, _WRONG = 1, 5
"""Numbers of colours: the bar of the image's own class, and of others."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An image, its class where it is known, and the likeliest classes, best first."""

    name: str
    label: str | None
    top: tuple[tuple[str, float], ...]
    picture: np.ndarray[Any, Any]


class Predictions(Kind):
    """Images with their class and the five likeliest ones as bars: figure 4 of the paper, left.

    The images are drawn from the validation set by --seed, or are the files of --images, of which the class is not
    known. The bar of an image's own class has another colour.
    """

    attrs: ClassVar = {
        "count": integer("How many images.", default=8, minimum=1, maximum=40),
        "seed": integer("Decides which images.", default=0, minimum=0),
        "images": {
            "type": "array",
            "items": {"type": "string"},
            "default": [],
            "description": "An image file to show instead; may be given several times.",
        },
        **IMAGES,
    }
    most = 1
    of_folder = "newest"
    examples: ClassVar[tuple[str, ...]] = (
        "netspec figure predictions runs/quickstart -o figure4.png",
        "netspec figure predictions RUN --images cat.jpg --images dog.jpg -o mine.pdf",
    )

    def read(self, paths: Sequence[Path], labels: Sequence[str], tell: Tell) -> tuple[Seen, ...]:
        """See Kind."""
        from netspec.runners.scoring import need_classes

        need_classes(paths[:1])
        hear = listener(tell)
        network = trained_at(paths[0], hear, self.settings["devices"])
        return self._files(network) if self.settings["images"] else self._drawn(network, hear)

    def _drawn(self, network: Trained, hear: Listener) -> tuple[Seen, ...]:
        from netspec.evaluation.image_results import Judge
        from netspec.figures._pictures import pictures_of, some_of
        from netspec.runners.streaming import open_images, stream
        from netspec.runners.trained import output_names

        asked = asked_of(self.settings, workers=0)
        classes = spoken(output_names(network), network.record.words)
        if not classes:
            raise NetspecError(f"{network.path}: the network gives no class probabilities")
        images = some_of(open_images(network, asked, hear), self.settings["count"], self.settings["seed"])
        judge = Judge(images.labels, _BARS)
        stream(network, images, 1, asked, hear, judge.add)
        found, pictures = judge.results(images.name), pictures_of(images, network.spec)
        rows = zip(found.index, found.names, found.label, found.top, found.top_probabilities, strict=True)
        return tuple(
            Seen(printable(name), classes[label], _named(top, values, classes), pictures[index])
            for index, name, label, top, values in rows
        )

    def _files(self, network: Trained) -> tuple[Seen, ...]:
        from netspec.data.source import read_regular_file
        from netspec.figures._pictures import picture_of
        from netspec.runners.inference import Predictor

        names, binding = self.settings["images"], asked_of(self.settings).binding
        with Predictor(network.path, binding, progress=False) as predictor:
            found = predictor.predict(names, _BARS)
        if wrong := [f"{printable(one.path)}: {one.error}" for one in found if one.error]:
            raise NetspecError("\n".join(wrong))
        pictures = [picture_of(read_regular_file(os.fsencode(name)), network.spec) for name in names]
        classes = network.record.classes
        called = dict(zip(classes, spoken(classes, network.record.words), strict=True))
        tops = [tuple((called.get(name, name), value) for name, value in one.top) for one in found]
        files = [printable(Path(name).name) for name in names]
        return tuple(map(Seen, files, [None] * len(files), tops, pictures))

    def numbers(self, data: Sequence[Seen]) -> Any:
        """What was seen in each image."""
        return [
            {"image": one.name, "class": one.label, "top": [{"class": n, "probability": p} for n, p in one.top]}
            for one in data
        ]

    def lines(self, data: Sequence[Seen]) -> list[str]:
        """An image a line."""
        tops = [", ".join(f"{name} {percent(value, 0)}" for name, value in one.top[:2]) for one in data]
        return [f"{one.name}: {top}" for one, top in zip(data, tops, strict=True)]

    def draw(self, data: Sequence[Seen]) -> Figure:
        """Four in a row."""
        columns = min(_COLUMNS, len(data))
        rows, width = -(-len(data) // columns), _style.DOUBLE * columns / _COLUMNS
        bars = max(len(one.top) for one in data)
        heights = [1.71875, 0.171875 * bars]  # in 64ths: sums are exact, whatever order the layout's solver adds in
        figure = _style.new_figure(width, sum(heights) * rows)
        grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=heights * rows)
        for number, one in enumerate(data):
            row, column = divmod(number, columns)
            _draw_image(grid[2 * row, column], one)
            _draw_bars(grid[2 * row + 1, column], one, number, bars)
        for axes in [axes for line in (grid[-2], grid[-1]) for axes in line[(len(data) - 1) % columns + 1 :]]:
            axes.set_axis_off()
        return figure


def _named(top: Any, values: Any, classes: Sequence[str]) -> tuple[tuple[str, float], ...]:
    return tuple((classes[int(number)], float(value)) for number, value in zip(top, values, strict=True))


def _draw_image(axes: Axes, one: Seen) -> None:
    from netspec.figures._pictures import show

    show(axes, one.picture)
    name = one.name if one.label is None else one.label
    axes.set_xlabel(_style.shortened(name, 26), fontweight="bold", labelpad=2)


def _draw_bars(axes: Axes, one: Seen, number: int, bars: int) -> None:
    """A class a bar, its name written over it, in room for so many."""
    for rank, (name, value) in enumerate(one.top):
        colour = _style.COLOURS[_RIGHT if name == one.label else _WRONG]
        axes.barh(rank, value, 0.82, color=colour, alpha=0.6, gid=f"bar.{number}.{rank}")
        axes.text(0.015, rank, _style.shortened(name, 30), va="center", fontsize=_style.SMALL)
    axes.set_xlim(0, 1)
    axes.set_ylim(bars - 0.5, -0.5)
    _style.bare(axes)
    axes.spines.left.set_visible(True)
