"""What several runs are called beside each other: by what tells them apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from netspec.errors import NetspecError, printable
from netspec.machine.names import nearer
from netspec.report.comparison import settings_of

Tell = Callable[[str], None]
"""Hears lines for people."""
Settings = Mapping[str, Any]
_MOST = 2
"""Settings that a label names."""


def run_labels(folders: Sequence[Path]) -> list[str]:
    """A label for each run: its spec's name, with the settings that differ where names are alike, else its time."""
    names = [printable(folder.resolve().parent.name) for folder in folders]
    labels = list(names)
    for name in set(names):
        alike = [number for number, one in enumerate(names) if one == name]
        if len(alike) > 1:
            more = _told_apart([folders[number] for number in alike])
            for number, text in zip(alike, more, strict=True):
                labels[number] = text if len(alike) == len(folders) else f"{name}, {text}"
    return labels if len(set(labels)) == len(labels) else [printable(nearer(folder)) for folder in folders]


def settings_or_none(folder: Path) -> Settings:
    """The resolved spec by paths; empty where there is none that can be read."""
    try:
        return settings_of(folder)
    except (NetspecError, OSError):
        return {}


def but_for_seed(settings: Settings) -> str:
    """What runs have in common that differ in their seed alone."""
    return repr(sorted((path, repr(value)) for path, value in settings.items() if path != "train.seed"))


def _told_apart(folders: Sequence[Path]) -> list[str]:
    """What runs of one name differ in: a setting or two of their specs, or the time at which they began."""
    settings = [settings_or_none(folder) for folder in folders]
    paths = dict.fromkeys(path for one in settings for path in one)
    differ = [path for path in paths if len({repr(one.get(path)) for one in settings}) > 1]
    texts = [
        ", ".join(f"{path.rpartition('.')[2]} {printable(str(one.get(path)))}" for path in differ) for one in settings
    ]
    told = len(differ) <= _MOST and len(set(texts)) == len(texts)
    return texts if told else [printable(folder.resolve().name) for folder in folders]
