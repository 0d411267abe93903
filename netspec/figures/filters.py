"""Figure 3 of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import choice, text
from netspec.errors import NetspecError
from netspec.figures import _style
from netspec.figures._base import Kind
from netspec.figures._sources import listener, run_of, trained_at
from netspec.report.run_labels import Tell, run_labels
from netspec.units import many

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from netspec.planning import Logical, Plan

    Array = np.ndarray[Any, Any]

SIGNIFICANT = 0.025
"""Two scores are tested, each at half of 5 % (Bonferroni)."""
_COLUMNS = 16


@dataclass(frozen=True, slots=True)
class Side:
    """The kernels of one device, (F, KH, KW, C), with a score each; ``colour`` is None where C is not 3."""

    device: str
    kernels: Array
    colour: Array | None
    orientation: Array


@dataclass(frozen=True, slots=True)
class Difference:
    """How far the devices' mean scores lie apart, and how often a random deal of the kernels does as much."""

    apart: float
    p: float


@dataclass(frozen=True, slots=True)
class Filters:
    """One run's first layer; ``differences`` by score, none on one device."""

    label: str
    layer: str
    sides: tuple[Side, ...]
    differences: Mapping[str, Difference]

    @property
    def specialised(self) -> tuple[str, ...]:
        """The scores in which the devices differ by more than chance."""
        return tuple(name for name, one in self.differences.items() if one.p <= SIGNIFICANT)


class FilterPictures(Kind):
    """The kernels of the first convolution by device, scored: figure 3 of the paper.

    Colour is the share of a kernel's energy that is chroma (0: grey, 1: no luminance), orientation the coherence of its
    structure tensor (0: round, 1: an edge or a grating). Devices are called specialised where a permutation test of
    their kernels gives p <= 0.025 for one of the two. Mid-grey is zero.
    """

    attrs: ClassVar = {
        "layer": text("The layer whose kernels are shown; the first convolution of the image by default.", default=""),
        "scale": choice(
            "kernel", "layer", description="What has full contrast: each kernel, or the layer.", default="kernel"
        ),
    }
    examples: ClassVar[tuple[str, ...]] = (
        "netspec figure filters runs/alexnet/2026-01-31_12-00-00 -o figure3.png",
        "netspec figure filters runs/imagenette/* -o seeds.pdf",
    )

    def read(self, paths: Sequence[Path], labels: Sequence[str], tell: Tell) -> tuple[Filters, ...]:
        """See Kind."""
        names = labels or run_labels(list(map(run_of, paths)))
        return tuple(self._of(path, name, tell) for path, name in zip(paths, names, strict=True))

    def _of(self, path: Path, label: str, tell: Tell) -> Filters:
        from netspec.planning import build

        network = trained_at(path, listener(tell))
        plan = build(network.spec, "predict", 1)
        layer = self.settings["layer"] or _first(plan)
        if layer not in {shard.layer for shard in plan.shards}:
            raise NetspecError(f"{path}: no layer '{layer}' in {network.spec.name}")
        parts = {device: _kernels(network.found.tensors, part) for device, part in _stored(plan, layer).items()}
        wrong = [shape for shape in (part.shape for part in parts.values()) if not _shown(shape)]
        if wrong or not parts:
            shape = f"a weight of {' x '.join(map(str, wrong[0]))}" if wrong else "no weight"
            raise NetspecError(f"{path}: {layer} has {shape}; kernels of 2 x 2 or more over 1 or 3 channels are shown")
        return scored(label, layer, parts)

    def numbers(self, data: Sequence[Filters]) -> Any:
        """Scores by run and device, and the tests."""
        return [
            {
                "label": one.label,
                "layer": one.layer,
                "devices": {side.device: {name: s.tolist() for name, s in _scores(side).items()} for side in one.sides},
                "means": {side.device: _means(side) for side in one.sides},
                "differences": one.differences,
                "specialised": one.specialised,
            }
            for one in data
        ]

    def lines(self, data: Sequence[Filters]) -> list[str]:
        """Means by device, what the test says, and over how many runs."""
        told = []
        for one in data:
            head = f"{one.label}, {one.layer}"
            told += [f"{head} on {side.device}: {_told(side)}" for side in one.sides]
            told += [f"{head}: {_verdict(one)}"] if one.differences else []
        return [*told, _overall(data)] if len(data) > 1 and data[0].differences else told

    def draw(self, data: Sequence[Filters]) -> Figure:
        """Devices below each other for one run, beside each other for several; below them every kernel's scores."""
        across = 1 if len(data) == 1 else max(len(one.sides) for one in data)
        rows = [some for one in data for some in _rows(one, across)]
        width = _style.DOUBLE / across
        heights = [0.24 + width * 0.97 * max(_mosaic_rows(side) for _, side in row) / _COLUMNS for row in rows]
        strip = 0.42 + 0.16 * sum(len(one.sides) for one in data)
        figure = _style.new_figure(_style.DOUBLE, sum(heights) + strip + 0.35)
        pages = figure.subfigures(len(rows) + 1, 1, height_ratios=[*heights, strip + 0.35], squeeze=False)[:, 0]
        for row, page in zip(rows, pages, strict=False):
            for (one, side), axes in zip(row, page.subplots(1, across, squeeze=False)[0], strict=False):
                _draw_kernels(axes, one, side, len(data) > 1, self.settings["scale"])
        _draw_scores(pages[-1], data)
        return figure


def scored(label: str, layer: str, kernels: Mapping[str, Array]) -> Filters:
    """Scores of the kernels of each device, given as (KH, KW, C, F), and the tests between devices."""
    import numpy as np

    from netspec.figures._kernel_scores import colour, orientation, permutation_test

    sides = []
    for device, part in kernels.items():
        each = np.moveaxis(np.asarray(part, np.float64), -1, 0)
        sides.append(Side(device, each, colour(each) if each.shape[3] == 3 else None, orientation(each)))
    names = list(_scores(sides[0])) if len(sides) > 1 else []
    tests = {name: permutation_test([_scores(side)[name] for side in sides]) for name in names}
    return Filters(label, layer, tuple(sides), {name: Difference(*test) for name, test in tests.items()})


def _scores(side: Side) -> dict[str, Array]:
    found = {"colour": side.colour, "orientation": side.orientation}
    return {name: values for name, values in found.items() if values is not None}


def _means(side: Side) -> dict[str, float]:
    """Means over the kernels that have a score; a kernel of zeros has none."""
    import numpy as np

    return {
        name: float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else float("nan")
        for name, values in _scores(side).items()
    }


def _first(plan: Plan) -> str:
    """The first layer with kernels over the image. Raises NetspecError where there is none."""
    for shard in plan.shards:
        if _shown(shard.params.get("weight", ())):
            return shard.layer
    raise NetspecError(f"{plan.name} has no convolution of an image: no layer with kernels over 1 or 3 channels")


def _shown(shape: Sequence[int]) -> bool:
    """Whether a weight of that shape, (KH, KW, C, F), is one of kernels that can be shown."""
    return len(shape) == 4 and min(shape[:2]) > 1 and shape[2] in (1, 3)


def _stored(plan: Plan, layer: str) -> dict[str, Logical]:
    """Which part of which tensor of a checkpoint holds the kernels of each device: of averages where those count."""
    own = [key for key in plan.keys("parameter", "average") if (key.of.layer, key.of.tensor) == (layer, "weight")]
    parts = {key.device: plan.buffers[key].logical for key in own}
    return {device: part for device, part in parts.items() if part is not None}


def _kernels(tensors: Mapping[str, Array], part: Logical) -> Array:
    """The part of a tensor that lies on a device."""
    whole = tensors[str(part.key)]
    return whole if part.axis is None else whole.take(range(part.start, part.stop), axis=part.axis)


def _told(side: Side) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in _means(side).items())


def _verdict(one: Filters) -> str:
    tests = (f"{name} differs by {test.apart:.2f} (p = {_p(test.p)})" for name, test in one.differences.items())
    return f"{'; '.join(tests)}: {'specialised' if one.specialised else 'not specialised'}"


def _p(p: float) -> str:
    return f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


def _overall(data: Sequence[Filters]) -> str:
    counts = {name: sum(name in one.specialised for one in data) for name in data[0].differences}
    runs = many(len(data), "run")
    return "devices differ " + ", ".join(f"in {name} in {count} of {runs}" for name, count in counts.items())


# Drawing ------------------------------------------------------------------------------------------------------------


def _rows(one: Filters, across: int) -> list[list[tuple[Filters, Side]]]:
    sides = [(one, side) for side in one.sides]
    return [sides[start : start + across] for start in range(0, len(sides), across)]


def _mosaic_rows(side: Side) -> int:
    return -(-len(side.kernels) // _COLUMNS)


def _draw_kernels(axes: Axes, one: Filters, side: Side, named: bool, scale: str) -> None:
    import numpy as np

    largest = max(float(np.abs(other.kernels).max()) for other in one.sides) if scale == "layer" else None
    axes.imshow(mosaic(side.kernels, largest), interpolation="none")
    _style.bare(axes)
    name = f"{one.label} \N{MIDDLE DOT} {side.device}" if named else f"{one.layer} on {side.device}"
    axes.set_title(f"{_style.shortened(name, 40)}: {_told(side)}", fontweight="normal")


def mosaic(kernels: Array, largest: float | None = None) -> Array:
    """The kernels (F, KH, KW, C) as one RGB image in [0, 1], 16 in a row, a white line of a pixel between them.

    Zero is mid-grey. ``largest`` is the weight that is shown in full; None: each kernel's own largest.
    """
    import numpy as np

    count, high, wide, channels = kernels.shape
    full = np.abs(kernels).max(axis=(1, 2, 3), keepdims=True) if largest is None else np.float64(largest)
    shown = 0.5 + 0.5 * kernels / np.where(full > 0, full, 1.0)
    rows = -(-count // _COLUMNS)
    page = np.ones((rows * _COLUMNS, high + 1, wide + 1, 3))
    page[:count, :high, :wide] = shown if channels == 3 else np.repeat(shown, 3, axis=3)
    page = page.reshape(rows, _COLUMNS, high + 1, wide + 1, 3).swapaxes(1, 2)
    return page.reshape(rows * (high + 1), _COLUMNS * (wide + 1), 3)[:-1, :-1]


def _draw_scores(page: Any, data: Sequence[Filters]) -> None:
    """A dot a kernel, a bar at the mean of each device, and where kernels of random numbers would lie."""
    from netspec.figures._kernel_scores import untrained

    sides = [(one, side) for one in data for side in one.sides]
    names = [name for name in ("colour", "orientation") if all(name in _scores(side) for _, side in sides)]
    for name, axes in zip(names, page.subplots(1, len(names), sharey=True, squeeze=False)[0], strict=True):
        for row, (one, side) in enumerate(sides):
            values, place = _scores(side)[name], one.sides.index(side)
            _draw_strip(axes, values, row, _means(side)[name], _style.COLOURS[place % len(_style.COLOURS)], name)
            chance = [untrained(side.kernels.shape[1:])[name]] * 2
            axes.plot(chance, [row - 0.5, row + 0.5], color=_style.SOFT, linewidth=0.7, linestyle=(0, (2, 2)), zorder=0)
        axes.set_xlim(0, 1)
        axes.set_ylim(len(sides) - 0.5, -0.5)
        axes.set_yticks(range(len(sides)), [_row_name(one, side, len(data) > 1) for one, side in sides])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"{name} (dashed: random numbers)")
    if data[0].differences:
        page.suptitle(_overall(data) if len(data) > 1 else _verdict(data[0]), fontsize=7, x=0.005, ha="left")


def _row_name(one: Filters, side: Side, named: bool) -> str:
    return _style.shortened(f"{one.label} \N{MIDDLE DOT} {side.device}" if named else side.device, 28)


def _draw_strip(axes: Axes, values: Array, row: int, mean: float, colour: str, name: str) -> None:
    import numpy as np

    places = row + 0.5 * ((np.arange(len(values)) * 0.618034) % 1.0 - 0.5)  # spread evenly, the same each time
    axes.plot(values, places, "o", color=colour, markersize=1.8, alpha=0.55, markeredgewidth=0, gid=f"{name}.{row}")
    axes.plot([mean, mean], [row - 0.36, row + 0.36], color=_style.INK, linewidth=1.4, gid=f"{name}.{row}.mean")
