"""What figures are made of: a trained network, its spec or one that nobody has trained, images to show it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netspec.contract.attrs import Attr, choice, integer, text
from netspec.errors import printable
from netspec.events import Event, Listener, Note
from netspec.report.run_labels import Tell

if TYPE_CHECKING:
    from netspec.runners.streaming import Asked
    from netspec.runners.trained import Trained
    from netspec.spec.types import Spec

IMAGES: Mapping[str, Attr] = {
    "data": text("Images instead of those the run was trained with, as for netspec eval.", default=""),
    "split": choice("val", "train", description="Which of the images.", default="val"),
    "devices": text("Real devices, such as cpu:0,cpu:1; by default as netspec eval.", default=""),
    "batch": integer("Images a batch; 0: as the spec says.", default=0, minimum=0),
}
"""Settings of kinds that show images to a network."""


def asked_of(settings: Mapping[str, Any], **more: Any) -> Asked:
    """The settings of IMAGES as evaluation takes them."""
    from netspec._types import Binding
    from netspec.runners.streaming import Asked

    batch, data = settings["batch"] or None, settings["data"] or None
    return Asked(Binding(settings["devices"] or None), data, settings["split"], 1, batch, **more)


def trained_at(path: Path, hear: Listener, devices: str = "") -> Trained:
    """A run's best whole checkpoint, or a checkpoint file, with its spec. Raises NetspecError where there is none."""
    from netspec._types import Binding
    from netspec.runners.trained import open_trained

    return open_trained(path, Binding(devices or None), hear)


def spoken(names: Sequence[str], words: Mapping[str, str]) -> list[str]:
    """What figures call classes: the first of the words for each where there are some, and the name beside it where two
    have the same."""
    first = [words.get(name, "").partition(",")[0].strip() or name for name in names]
    counts = Counter(first)
    pairs = zip(first, names, strict=True)
    return [printable(f"{word} ({name})" if counts[word] > 1 else word) for word, name in pairs]


def words_at(path: Path) -> Mapping[str, str]:
    """The words for the classes of a run, or of a checkpoint file, by class. Raises NetspecError."""
    from netspec.runners.training.checkpoint import record_of

    return record_of(path).words


def run_of(path: Path) -> Path:
    """The run's folder that a checkpoint lies in; a folder is that itself."""
    return path if path.is_dir() else path.resolve().parent.parent


def listener(tell: Tell) -> Listener:
    """Notes of networks and images, each once, to those who hear lines."""
    heard: set[str] = set()

    def hear(event: Event) -> None:
        if isinstance(event, Note) and event.text not in heard:
            heard.add(event.text)
            tell(event.text)

    return hear


def spec_at(path: Path, tell: Tell) -> Spec:
    """The spec of a run, of a checkpoint, or of a file or a shipped name. Raises NetspecError, SpecError."""
    from netspec.runners.recorded_spec import is_recorded, recorded_spec
    from netspec.spec import load

    return recorded_spec(path, listener(tell)) if is_recorded(path) else load(str(path))
