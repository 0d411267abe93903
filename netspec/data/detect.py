"""Which source ``--data DIR`` means: what is looked for in a folder, and what is said when it is not there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from netspec.data.listing import LAYOUTS, is_image_name
from netspec.errors import NetspecError


def source_from_path(path: str | Path) -> Mapping[str, str]:
    """The source description, as in ``data: {source: ...}``, for a path given by a user.

    Takes, in this order: a tar archive; a folder with ``train/``; one with ``train.tar``; a folder of class folders,
    which is training data, and with its neighbours where it is called ``train``; a folder with a single tar archive.
    Raises NetspecError, saying what was looked for and what is there.
    """
    folder = Path(path).expanduser().absolute()
    if folder.is_file():
        return {"type": "tar", "path": str(folder)}
    if not folder.is_dir():
        raise NetspecError(f"{path}: no such folder or archive (expected {LAYOUTS})")
    found = _split_layout(folder) or _class_folders(folder) or _lone_archive(folder)
    if found is None:
        raise NetspecError(f"{path}: no images found; looked for {LAYOUTS}; {_what_is_there(folder)}")
    return found


def _split_layout(folder: Path) -> Mapping[str, str] | None:
    if (folder / "train").is_dir():
        return {"type": "folder", "path": str(folder)}
    if (folder / "train.tar").is_file():
        return {"type": "tar", "path": str(folder)}
    return None


def _class_folders(folder: Path) -> Mapping[str, str] | None:
    if not any(_holds_image(entry) for entry in _visible(folder) if entry.is_dir()):
        return None
    if folder.name == "train":
        return {"type": "folder", "path": str(folder.parent)}
    return {"type": "folder", "path": str(folder), "train": "."}


def _lone_archive(folder: Path) -> Mapping[str, str] | None:
    archives = [entry for entry in _visible(folder) if entry.suffix == ".tar"]
    return {"type": "tar", "path": str(archives[0])} if len(archives) == 1 else None


def _holds_image(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(is_image_name(os.fsencode(entry.name)) for entry in entries)
    except OSError:
        return False


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise NetspecError(f"{folder}: cannot be listed: {error.strerror}") from error


def _what_is_there(folder: Path) -> str:
    entries = _visible(folder)
    fitting = [str(entry) for entry in entries if entry.is_dir() and _split_layout(entry)]
    if fitting:
        return "did you mean " + " or ".join(fitting[:5]) + "?"
    names = [entry.name + "/" * entry.is_dir() for entry in entries[:8]]
    return "it holds " + (", ".join(names) + ", ..." * (len(entries) > 8) if names else "nothing")
