"""The page of one run or several: its figures and tables, each made from the run's folder and, for some, its images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from netspec._version import __version__
from netspec.errors import NetspecError
from netspec.figures import Picture, picture
from netspec.page.document import Section, document, folded, image, note, table
from netspec.report.curves import metrics_of
from netspec.report.run_labels import Tell, run_labels
from netspec.rundir.directory import ENVIRONMENT, RESOLVED, START, RunSummary, began, summary
from netspec.rundir.run_files import read_json, read_text
from netspec.runners.trained import one_kept_open
from netspec.runners.training.checkpoint import record_from
from netspec.units import duration, error_name, error_value, many

_PHOTOGRAPHIC = ("predictions", "neighbours")
"""What is made of images is a JPEG: as SVG it would be many times as large."""
_SPLITS = ("train", "val")
TIMED = "timeline"
"""The section for which this machine is measured."""
More = Callable[[Picture], str]
"""HTML below a picture."""
_AMONG = 500
"""Training images among which neighbours are looked for: the page is to be made in seconds."""


@dataclass(frozen=True, slots=True)
class Part:
    """A section that has yet to be made; ``live`` says that metrics alone are read for it."""

    anchor: str
    title: str
    make: Callable[[], str]
    live: bool = False

    def section(self) -> Section:
        """The section; where it cannot be made a line that says why."""
        try:
            return Section(self.anchor, self.title, self.make())
        except (NetspecError, OSError) as error:
            return Section(self.anchor, self.title, note(f"{self.anchor}: {error}"))


def run_page(runs: Sequence[Path], tell: Tell = lambda line: None, **images: Any) -> str:
    """The HTML of one page on these runs; what needs one network shows the first.

    ``images`` are settings of the figures that show images to it: data, devices. What cannot be made is a line that
    says why. Raises NetspecError where a folder is no run.
    """
    for run in runs:
        metrics_of(run)
    title, lead = heading(runs)
    with one_kept_open():
        return document(title, lead, [part.section() for part in parts(runs, run_labels(runs), tell, images)])


def heading(runs: Sequence[Path]) -> tuple[str, str]:
    """The title, and what is said below it."""
    title = ", ".join(dict.fromkeys(run.resolve().parent.name for run in runs))
    start = datetime.fromtimestamp(began(runs[0]), UTC).strftime("%Y-%m-%d %H:%M")
    return title, f"{many(len(runs), 'run')}, the first begun {start} UTC; netspec {__version__}"


def parts(runs: Sequence[Path], labels: Sequence[str], tell: Tell, images: Mapping[str, Any]) -> list[Part]:
    """The sections of the page in their order, none of them made; see ``run_page``."""
    first, names = runs[:1], list(labels)

    def drawn(
        kind: str, of: Sequence[Path], alt: str, more: More = lambda made: "", **settings: Any
    ) -> Callable[[], str]:
        def make() -> str:
            made = picture(kind, of, () if of is first else names, tell=tell, **settings)
            if kind in _PHOTOGRAPHIC:
                return image(made.render("jpeg"), "jpeg", alt, made.lines)
            data, own = made.render("svg"), kind == "architecture"
            return image(data, "svg", alt, made.lines, inches=0 if own else _inches(data), own_colours=own) + more(made)

        return make

    devices = {name: value for name, value in images.items() if name == "devices"}
    crossings = drawn("activations", runs, "training error over epochs, and where it reaches 25 per cent")
    photographs = "images with their class and the five likeliest classes"
    confused = "which classes are taken for which"
    near = "validation images and the training images nearest to them"
    classes = any(map(_has_classes, runs))
    several = len(runs) > 1 and classes
    queues = "queues of all devices over one training iteration"
    return [
        Part("results", "Results", lambda: _results(runs, labels), live=True),
        Part("data", "Data", lambda: _data(runs, labels), live=True),
        Part("curves", "Curves", drawn("curves", runs, "loss, errors and learning rate over epochs"), live=True),
        *([Part("activations", "Epochs to 25 % training error", crossings, live=True)] if several else []),
        Part("architecture", "Architecture", drawn("architecture", first, "layers by device, and what crosses")),
        Part("filters", "Kernels of the first layer", drawn("filters", runs, "kernels by device and their scores")),
        *([Part("predictions", "Predictions", drawn("predictions", first, photographs, **images))] if classes else []),
        Part("neighbours", "Nearest neighbours", drawn("neighbours", first, near, among=_AMONG, **images)),
        *([Part("confusion", "Confusion", drawn("confusion", runs, confused, **images))] if classes else []),
        Part(TIMED, "Time", drawn("timeline", first, queues, _times, **devices)),
        Part("memory", "Memory", drawn("memory", first, "buffers over the steps of an iteration")),
        Part("spec", "Spec and environment", lambda: "\n".join(map(_files, runs, labels))),
    ]


def _has_classes(run: Path) -> bool:
    """Whether it may have some: it does not where it is known to have been trained on images without classes."""
    try:
        return bool(record_from(run / START).classes)
    except NetspecError:
        return True


def _inches(svg: bytes) -> float:
    """The width of a picture that matplotlib has drawn: its view box is in points."""
    return float(svg.partition(b'viewBox="')[2].split(maxsplit=3)[2]) / 72


def _results(runs: Sequence[Path], labels: Sequence[str]) -> str:
    """A row for each run that is there, and lines on what is wrong with its files."""
    there = [(label, summary(run)) for run, label in zip(runs, labels, strict=True) if run.is_dir()]
    lines = [f"{run}: the folder is not there" for run in runs if not run.is_dir()]
    lines += [line for _, one in there for line in one.faults]
    return (_results_table(there) if there else "") + (note("\n".join(lines)) if lines else "")


def _results_table(there: Sequence[tuple[str, RunSummary]]) -> str:
    names = list(dict.fromkeys(name for _, one in there for name in one.best))
    measures = {name: metric for _, one in there for name, metric in one.metrics.items()}
    best = [f"best {error_name(name, measures)}" for name in names]
    columns = ["run", "status", "epochs", "iterations", *best, "time"]
    rows = [
        (
            label,
            one.status,
            one.epoch,
            f"{one.iteration:,} of {one.total_iterations:,}",
            *(error_value(name, one.best[name], declared=one.metrics) if name in one.best else "" for name in names),
            duration(one.seconds),
        )
        for label, one in there
    ]
    return table(columns, rows, right=columns[2:])


def _data(runs: Sequence[Path], labels: Sequence[str]) -> str:
    """What each run was trained on, as it recorded it when it began, and how much of it has been seen."""
    parts, rows = [], []
    for run, label in zip(runs, labels, strict=True):
        try:
            record = record_from(run / START)
        except NetspecError as error:
            parts.append(note(error))
            continue
        source = record.spec.get("data", {}).get("source", {})
        images = [f"{record.data[split].get('images', 0):,}" if split in record.data else "" for split in _SPLITS]
        seen = f"{metrics_of(run).iteration * record.batch:,}"
        where = source.get("path") or source.get("type", "")
        rows.append((label, where, *images, f"{len(record.classes):,}" if record.classes else "none", seen))
        named = (f"{name}  {record.words.get(name, '')}".rstrip() for name in record.classes)
        parts += [folded(f"{label}: classes", "\n".join(named))] if record.classes else []
    columns = ["run", "images from", "training images", "validation images", "classes", "images seen"]
    return table(columns, rows, right=columns[2:]) + "\n".join(parts)


def _times(made: Picture) -> str:
    """Milliseconds and operations by layer and device, of the iteration that the timeline shows, and their bound."""
    columns = ["layer", "device", "forward, ms", "backward, ms", "GFLOP/s", "of the roofline"]
    rows = table(columns, made.kind.by_layer(made.data), right=columns[2:])  # type: ignore[attr-defined]
    return rows + note(made.data.roof)


def _files(run: Path, label: str) -> str:
    parts = []
    for name, title in ((RESOLVED, "spec with the origin of each value"), (ENVIRONMENT, "environment")):
        try:
            content = read_text(run / name) if name == RESOLVED else json.dumps(read_json(run / name), indent=2)
            parts.append(folded(f"{label}: {title}", content))
        except (NetspecError, OSError) as error:
            parts.append(note(error))
    return "\n".join(parts)
