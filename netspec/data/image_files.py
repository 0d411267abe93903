"""Image files as people name them: single ones, folders of them and patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from netspec.data.index.classes import canonical
from netspec.data.index.filenames import SUFFIXES
from netspec.data.index.passed_over import PassedOver
from netspec.data.index.tree import DiskTree, Walk
from netspec.errors import NetspecError, printable


def image_files(given: Iterable[Any]) -> tuple[list[Any], list[str]]:
    """What is given, with the images in a folder in its place, at any depth and in the order of their names, and the
    files that match in place of a pattern; and lines for people.

    A file that is named itself stays whatever it is called, and so does all that is no path. Raises NetspecError for a
    folder without images and a pattern that nothing matches.
    """
    found: list[Any] = []
    passed = PassedOver()
    for one in given:
        for path in _matching(one) if isinstance(one, str | Path) else [one]:
            is_folder = isinstance(path, str | Path) and os.path.isdir(path)
            found += _below(path, passed) if is_folder else [path]
    line = passed.line()
    return found, [line] if line else []


def _matching(path: str | Path) -> list[Any]:
    text = os.fspath(path)
    if os.path.lexists(text) or not glob.has_magic(text):
        return [path]
    matching = sorted(glob.glob(text, recursive=True), key=_order)
    if not matching:
        raise NetspecError(f"{printable(text)}: no file matches")
    return list(matching)


def _below(folder: str | Path, passed: PassedOver) -> list[str]:
    root = os.fsencode(folder)
    walk = Walk(DiskTree(), root, printable(folder), root.rstrip(b"/") + b"/")
    paths = [path for entry in walk.top() for path in _images(walk, entry)]
    passed += walk.passed
    if not paths:
        suffixes = " ".join(sorted(suffix.decode() for suffix in SUFFIXES))
        raise NetspecError(f"{printable(folder)}: no images there; looked for {suffixes}")
    return sorted((os.fsdecode(path) for path in paths), key=_order)


def _images(walk: Walk, entry: Any) -> list[bytes]:
    return [node for _, node in walk.images(entry)] if entry.kind == "folder" else [entry.node]


def _order(path: str) -> bytes:
    return canonical(os.fsencode(path))
