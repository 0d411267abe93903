"""Which folder of an archive is a split's root: archives are packed with and without the folders around it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from netspec.data.index.archive import Folder, Nested, Node, follow
from netspec.data.index.filenames import is_hidden, is_image_name, is_system


class Place(NamedTuple):
    """A folder of an archive and the path that leads to it, with a slash behind it; empty for the top."""

    path: bytes
    folder: Folder

    def below(self, path: str) -> Place | None:
        """The folder of that path below this one, links followed."""
        parts = [part for part in os.fsencode(path).split(b"/") if part not in (b"", b".")]
        found = follow(self.folder, parts)
        return Place(self.path + b"".join(part + b"/" for part in parts), found) if isinstance(found, Folder) else None


def splits_root(top: Folder, names: Sequence[str]) -> Place | None:
    """The uppermost folder that holds a folder of one of those names, and around which no image lies."""
    place: Place | None = Place(b"", top)
    while place is not None and not any(place.below(name) for name in names):
        place = _only_folder(place)
    return place


def split_root(top: Folder, names: Sequence[str]) -> Place:
    """The folder of an archive's only split: one of those names if no image lies around it, else the top."""
    wanted = [os.fsencode(name) for name in names]
    place = _only_folder(Place(b"", top))
    while place is not None and place.path.split(b"/")[-2] not in wanted:
        place = _only_folder(place)
    return place or Place(b"", top)


def _only_folder(place: Place) -> Place | None:
    """The folder that all images of a folder lie below; None where there are several, or images beside it."""
    holding = [(name, node) for name, node in _visible(place.folder) if _has_image(name, node)]
    if len(holding) != 1 or not isinstance(child := holding[0][1], Folder):
        return None
    return Place(place.path + holding[0][0] + b"/", child)


def _has_image(name: bytes, node: Node) -> bool:
    """Whether it is an image, or a folder with one in it at any depth."""
    pending = [(name, node)]
    while pending:
        name, node = pending.pop()
        if isinstance(node, Nested):  # not read for this
            return True
        if isinstance(node, Folder):
            pending += _visible(node)
        elif is_image_name(name):
            return True
    return False


def _visible(folder: Folder) -> list[tuple[bytes, Node]]:
    return [(name, node) for name, node in folder.entries.items() if not is_hidden(name) and not is_system(name)]
