"""The page of one run or several: its figures and tables, each made from the run's folder and, for some, its images."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from netspec._version import __version__
from netspec.errors import NetspecError
from netspec.figures import Picture, picture
from netspec.page.document import Section, document, folded, image, note, table
from netspec.report.curves import metrics_of
from netspec.report.run_labels import Tell, run_labels
from netspec.report.units import duration, error_name, percent
from netspec.rundir.directory import ENVIRONMENT, RESOLVED, START, RunSummary, summary
from netspec.rundir.run_files import read_json, read_text
from netspec.runners.training.checkpoint import record_from

_PHOTOGRAPHIC, _WIDTH, _QUALITY = ("predictions", "neighbours"), 1380, 85
"""What is made of images is a JPEG of so many pixels in width: as SVG it would be many times as large."""
_SPLITS = ("train", "val")
More = Callable[[Picture], str]
"""HTML below a picture."""
_AMONG = 1000
"""Training images among which neighbours are looked for: the page is to be made in seconds."""


def run_page(runs: Sequence[Path], tell: Tell = lambda line: None, **images: Any) -> str:
    """The HTML of one page on these runs; what needs one network shows the first.

    ``images`` are settings of the figures that show images to it: data, devices. What cannot be made is a line that
    says why. Raises NetspecError where a folder is no run.
    """
    for run in runs:
        metrics_of(run)
    labels = run_labels(runs)
    summaries = [summary(run) for run in runs]
    title = ", ".join(dict.fromkeys(one.name for one in summaries))
    began = datetime.fromtimestamp(summaries[0].started, UTC).strftime("%Y-%m-%d %H:%M")
    lead = f"{len(runs)} run{'s' * (len(runs) > 1)}, the first begun {began} UTC; netspec {__version__}"
    return document(title, lead, list(_sections(runs, labels, summaries, tell, images)))


def _sections(
    runs: Sequence[Path], labels: Sequence[str], summaries: Sequence[RunSummary], tell: Tell, images: dict[str, Any]
) -> Iterator[Section]:
    first, names = runs[:1], list(labels)

    def drawn(kind: str, of: Sequence[Path], alt: str, more: More = lambda made: "", **settings: Any) -> str:
        try:
            made = picture(kind, of, () if of is first else names, tell=tell, **settings)
            if kind in _PHOTOGRAPHIC:
                return image(_jpeg(made), "jpeg", alt, made.lines)
            data, own = made.render("svg"), kind == "architecture"
            return image(data, "svg", alt, made.lines, inches=0 if own else _inches(data), own_colours=own) + more(made)
        except (NetspecError, OSError) as error:
            return note(f"{kind}: {error}")

    devices = {name: value for name, value in images.items() if name == "devices"}
    yield Section("results", "Results", _results(labels, summaries))
    yield Section("data", "Data", _data(runs, labels))
    yield Section("curves", "Curves", drawn("curves", runs, "loss, errors and learning rate over epochs"))
    if len(runs) > 1:
        alt = "training error over epochs, and where it reaches 25 per cent"
        yield Section("activations", "Epochs to 25 % training error", drawn("activations", runs, alt))
    yield Section("architecture", "Architecture", drawn("architecture", first, "layers by device, and what crosses"))
    yield Section("filters", "Kernels of the first layer", drawn("filters", runs, "kernels by device and their scores"))
    alt = "images with their class and the five likeliest classes"
    yield Section("predictions", "Predictions", drawn("predictions", first, alt, **images))
    alt = "validation images and the training images nearest to them"
    yield Section("neighbours", "Nearest neighbours", drawn("neighbours", first, alt, among=_AMONG, **images))
    yield Section("confusion", "Confusion", drawn("confusion", runs, "which classes are taken for which", **images))
    alt = "queues of all devices over one training iteration"
    yield Section("timeline", "Time", drawn("timeline", first, alt, _times, **devices))
    yield Section("memory", "Memory", drawn("memory", first, "buffers over the steps of an iteration"))
    files = (_files(run, label) for run, label in zip(runs, labels, strict=True))
    yield Section("spec", "Spec and environment", "\n".join(files))


def _inches(svg: bytes) -> float:
    """The width of a picture that matplotlib has drawn: its view box is in points."""
    return float(svg.partition(b'viewBox="')[2].split(maxsplit=3)[2]) / 72


def _jpeg(made: Picture) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    with Image.open(io.BytesIO(made.render("png"))) as page:
        page.thumbnail((_WIDTH, page.height))
        page.convert("RGB").save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _results(labels: Sequence[str], summaries: Sequence[RunSummary]) -> str:
    names = list(dict.fromkeys(name for one in summaries for name in one.best))
    columns = ["run", "status", "epochs", "iterations", *(f"best {error_name(name)}" for name in names), "time"]
    rows = [
        (
            label,
            one.status,
            one.epoch,
            f"{one.iteration:,} of {one.total_iterations:,}",
            *(percent(one.best[name]) if name in one.best else "" for name in names),
            duration(one.seconds),
        )
        for label, one in zip(labels, summaries, strict=True)
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
        rows.append((label, where, *images, f"{len(record.classes):,}", seen))
        named = (f"{name}  {record.words.get(name, '')}".rstrip() for name in record.classes)
        parts.append(folded(f"{label}: classes", "\n".join(named)))
    columns = ["run", "images from", "training images", "validation images", "classes", "images seen"]
    return table(columns, rows, right=columns[2:]) + "\n".join(parts)


def _times(made: Picture) -> str:
    """Milliseconds and operations by layer and device, of the iteration that the timeline shows."""
    columns = ["layer", "device", "forward, ms", "backward, ms", "GFLOP/s"]
    return table(columns, made.kind.by_layer(made.data), right=columns[2:])  # type: ignore[attr-defined]


def _files(run: Path, label: str) -> str:
    parts = []
    for name, title in ((RESOLVED, "spec with the origin of each value"), (ENVIRONMENT, "environment")):
        try:
            content = read_text(run / name) if name == RESOLVED else json.dumps(read_json(run / name), indent=2)
            parts.append(folded(f"{label}: {title}", content))
        except (NetspecError, OSError) as error:
            parts.append(note(error))
    return "\n".join(parts)
