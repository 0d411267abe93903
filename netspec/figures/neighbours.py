"""Figure 4 of the paper, right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import integer, text
from netspec.errors import NetspecError, printable
from netspec.events import Listener
from netspec.figures import _style
from netspec.figures._base import Kind
from netspec.figures._sources import IMAGES, asked_of, listener, spoken, trained_at
from netspec.report.run_labels import Tell
from netspec.units import many

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from netspec.data.source import Split
    from netspec.runners.trained import Trained

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """An image, its class, its distance to the one whose neighbour it is (0 for that one), and how it looks."""

    name: str
    label: str
    distance: float
    picture: Array


@dataclass(frozen=True, slots=True)
class Nearest:
    """Rows of an image and its neighbours, nearest first, by a layer's features, among so many training images."""

    layer: str
    among: int
    rows: tuple[tuple[Shown, ...], ...]
    has_classes: bool = True


class NeighbourPictures(Kind):
    """Test images and the training images nearest to them in the last hidden layer: figure 4 of the paper, right.

    The distance is Euclidean, between the activations that the last layer with parameters reads (in AlexNet 4096
    numbers), and the search looks at every one of the training images that take part. A frame tells neighbours of the
    image's own class from others. Images without classes have the numbers that are to be predicted under them.
    """

    attrs: ClassVar = {
        "count": integer("How many test images.", default=5, minimum=1, maximum=12),
        "nearest": integer("How many neighbours of each.", default=6, minimum=1, maximum=10),
        "seed": integer("Decides which images.", minimum=0, default=0),
        "among": integer(
            "Training images that take part; 0: all, whose features have to fit into memory.", default=10_000, minimum=0
        ),
        "layer": text("Another layer, by whose output images are compared.", default=""),
        **{name: schema for name, schema in IMAGES.items() if name != "split"},
    }
    most = 1
    of_folder = "newest"
    examples: ClassVar[tuple[str, ...]] = (
        "netspec figure neighbours runs/quickstart/2026-01-31_12-00-00 -o figure4.png",
        "netspec figure neighbours RUN --data imagenet/ --among 50000 -o figure4.pdf",
    )

    def read(self, paths: Sequence[Path], labels: Sequence[str], tell: Tell) -> Nearest:
        """See Kind."""
        from netspec.evaluation.neighbours import nearest
        from netspec.figures._pictures import Joined, labels_of, pictures_of, some_of
        from netspec.runners.streaming import open_images

        settings, hear = self.settings, listener(tell)
        network = trained_at(paths[0], hear, settings["devices"])
        asked = asked_of({**settings, "split": "val"})
        tests = some_of(open_images(network, asked, hear), settings["count"], settings["seed"])
        whole = open_images(network, replace(asked, split="train"), hear)
        trained = some_of(whole, settings["among"] or len(whole), settings["seed"])
        seen, features, layer = self._features(network, Joined(tests, trained), asked, hear)
        count = int((seen < len(tests)).sum())  # images come in their order
        places, queries, among, points = seen[:count], features[:count], seen[count:] - len(tests), features[count:]
        if not count:
            raise NetspecError(f"{network.path}: none of the {many(len(tests), 'test image')} can be read")
        if len(among) < settings["nearest"]:
            readable = many(len(among), "training image")
            raise NetspecError(f"{network.path}: {readable} can be read; --nearest asks for more")
        found = nearest(points, queries, settings["nearest"])
        classes = spoken(network.record.classes, network.record.words)
        rows = []
        for row, (index, distance) in enumerate(zip(found.places, found.distances, strict=True)):
            chosen = [tests.part(places[row : row + 1]), trained.part(among[index])]
            pictures = [one for images in chosen for one in pictures_of(images, network.spec)]
            names = [printable(images.name(i)) for images in chosen for i in range(len(images))]
            labels = [text for images in chosen for text in labels_of(images, classes)]
            rows.append(tuple(map(Shown, names, labels, [0.0, *distance.tolist()], pictures)))
        return Nearest(layer, len(among), tuple(rows), bool(classes))

    def _features(self, network: Trained, images: Split, asked: Any, hear: Listener) -> tuple[Array, Array, str]:
        """Places of the images that could be read, their features, and what they are the output of."""
        import numpy as np

        from netspec.runners.features import cut_off, last_hidden, named_layer
        from netspec.runners.streaming import stream

        layer = self.settings["layer"]
        read = named_layer(network, layer) if layer else last_hidden(network)
        found: list[tuple[Array, Array]] = []

        def take(indices: Array, rows: Array) -> None:
            found.append((indices, rows))

        stream(network, images, 1, asked, hear, take, cut_off(network.spec, read))
        places, rows = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return places, rows, ", ".join(one.source for one in read)

    def numbers(self, data: Nearest) -> Any:
        """Names, classes and distances."""
        rows = [[{"image": one.name, "class": one.label, "distance": one.distance} for one in row] for row in data.rows]
        return {"layer": data.layer, "among": data.among, "rows": rows}

    def lines(self, data: Nearest) -> list[str]:
        """How many neighbours are of the image's own class."""
        if not data.has_classes:
            return [f"{data.layer}, among {many(data.among, 'training image')}"]
        pairs = [one.label == row[0].label for row in data.rows for one in row[1:]]
        told = f"{sum(pairs)} of {many(len(pairs), 'neighbour')} are of the image's own class"
        return [f"{told}; {data.layer}, among {many(data.among, 'training image')}"]

    def draw(self, data: Nearest) -> Figure:
        """A row a test image, which comes first, a little apart."""
        columns = len(data.rows[0])
        side = (_style.DOUBLE - 0.25) / max(columns, 6)
        figure = _style.new_figure(side * columns + 0.25, (side + 0.13) * len(data.rows) + 0.2)
        widths = [1.0, 0.06, *[1.0] * (columns - 1)]
        grid = figure.subplots(len(data.rows), columns + 1, squeeze=False, width_ratios=widths)
        for row, line in zip(data.rows, grid, strict=True):
            line[1].set_axis_off()
            for place, (one, axes) in enumerate(zip(row, [line[0], *line[2:]], strict=True)):
                alike = one.label == row[0].label if place and data.has_classes else None
                _draw(axes, one, place == 0, alike, side)
        figure.suptitle(f"{self.lines(data)[0]}", fontsize=7, x=0.01, ha="left")
        return figure


def _draw(axes: Axes, one: Shown, first: bool, alike: bool | None, side: float) -> None:
    """A picture with its class; ``alike``: of the test image's class, None for that one itself and without classes."""
    from netspec.figures._pictures import show

    show(axes, one.picture)
    if alike is not None:
        axes.spines[:].set_color(_style.COLOURS[0 if alike else 1])
        axes.spines[:].set_linewidth(1.2)
    weight = "bold" if first else "normal"
    axes.set_xlabel(_style.shortened(one.label, int(side / 0.05)), fontsize=_style.SMALL, labelpad=2, fontweight=weight)
