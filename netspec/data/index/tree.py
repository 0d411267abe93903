"""The folders of a split, on a disk or in an archive: which files are images, and what is passed over.

Both kinds of source are walked by the same code, so the same files give the same images. Links are followed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from netspec.data.index.filenames import is_hidden, is_image_name, is_system
from netspec.data.index.passed_over import ENCLOSING, HIDDEN, NOWHERE, SPECIAL, SYSTEM, PassedOver
from netspec.data.source import read_regular_file
from netspec.errors import NetspecError, printable

_DEEPEST = 64
_MOST_REVISITS = 10_000
"""Visits to folders that were walked already by another link: more are links that lead in circles by many ways."""


class Entry(NamedTuple):
    """One entry of a folder, links already followed.

    ``node`` is what the tree knows a folder or a file by. A link to nowhere has the kind ``nowhere``; pipes, sockets
    and devices are ``special``.
    """

    name: bytes
    kind: Literal["folder", "file", "nowhere", "special"]
    node: Any


class Tree(Protocol):
    """Folders and files."""

    def entries(self, folder: Any) -> Iterable[Entry]:
        """What lies in a folder, in any order. Raises NetspecError where that cannot be told."""

    def identity(self, folder: Any) -> Hashable:
        """The same for two nodes that are one folder."""

    def enclosing(self, folder: Any) -> Sequence[Hashable]:
        """The identities of the folders that a folder lies in."""

    def read(self, file: Any) -> bytes:
        """A file's bytes; raises OSError or BrokenImage."""


class Walk:
    """Walks the folders of one split, and keeps count of what it passes over."""

    def __init__(self, tree: Tree, root: Any, where: str, prefix: bytes = b"", wanted: bytes = b"") -> None:
        """``where`` names the split in messages, ``prefix`` begins the paths of what is passed over.

        ``wanted`` is a file in the split's folder that counts though it is no image.
        """
        self.tree, self.root, self.where, self.prefix, self.wanted = tree, root, where, prefix, wanted
        self.passed = PassedOver()
        self._ancestors = frozenset((*tree.enclosing(root), tree.identity(root)))
        self._visited: set[Hashable] = set()
        self._revisits = 0

    def top(self) -> list[Entry]:
        """The split folder's own entries: class folders, images and the wanted file."""
        return list(self._kept(self.root, b"", self._ancestors))

    def images(self, folder: Entry) -> Iterator[tuple[bytes, Any]]:
        """Path below the split's folder and node of each image in a class folder, at any depth and in any order."""
        ancestors = self._ancestors | {self.tree.identity(folder.node)}
        pending = [(folder.name, folder.node, ancestors, 1)]
        while pending:
            path, node, ancestors, depth = pending.pop()
            self._check(node, depth)
            for entry in self._kept(node, path + b"/", ancestors):
                below = path + b"/" + entry.name
                if entry.kind == "folder":
                    pending.append((below, entry.node, ancestors | {self.tree.identity(entry.node)}, depth + 1))
                else:
                    yield below, entry.node

    def _check(self, folder: Any, depth: int) -> None:
        if depth > _DEEPEST:
            raise NetspecError(f"{self.where}: folders nested over {_DEEPEST} deep")
        identity = self.tree.identity(folder)
        self._revisits += identity in self._visited
        self._visited.add(identity)
        if self._revisits > _MOST_REVISITS:
            raise NetspecError(f"{self.where}: its links lead to the same folders by over {_MOST_REVISITS:,} ways")

    def _kept(self, folder: Any, below: bytes, ancestors: frozenset[Hashable]) -> Iterator[Entry]:
        """Folders and images, without what is passed over."""
        for entry in self.tree.entries(folder):
            path = self.prefix + below + entry.name
            reason = _reason(entry) or (ENCLOSING if self._encloses(entry, ancestors) else None)
            if reason is not None:
                self.passed.add(reason, path)
            elif entry.kind == "folder" or is_image_name(entry.name) or (not below and entry.name == self.wanted):
                yield entry
            else:
                self.passed.no_image(path)

    def _encloses(self, entry: Entry, ancestors: frozenset[Hashable]) -> bool:
        return entry.kind == "folder" and self.tree.identity(entry.node) in ancestors


def _reason(entry: Entry) -> str | None:
    """Why an entry is passed over whatever it holds. A link to nowhere that is called as an image is a broken image."""
    if is_system(entry.name):
        return SYSTEM
    if is_hidden(entry.name):
        return HIDDEN
    if entry.kind == "special":
        return SPECIAL
    return NOWHERE if entry.kind == "nowhere" and not is_image_name(entry.name) else None


class DiskTree:
    """Folders of a file system; a node is a path."""

    def entries(self, folder: bytes) -> Iterator[Entry]:
        """What lies in a folder."""
        with _listable(folder), os.scandir(folder) as found:
            for entry in found:
                yield Entry(entry.name, kind_of(entry), entry.path)

    def identity(self, folder: bytes) -> Hashable:
        """Device and inode."""
        with _listable(folder):
            status = os.stat(folder)
        return status.st_dev, status.st_ino

    def enclosing(self, folder: bytes) -> list[Hashable]:
        """Those of the parents, up to the root of the file system."""
        parents = []
        path = os.path.realpath(folder)
        while path != os.path.dirname(path):
            path = os.path.dirname(path)
            parents.append(self.identity(path))
        return parents

    def read(self, file: bytes) -> bytes:
        """The content of a regular file."""
        return read_regular_file(file)


@contextlib.contextmanager
def _listable(folder: bytes) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NetspecError(f"{printable(folder)}: cannot be listed: {error.strerror}") from error


def kind_of(entry: os.DirEntry[bytes]) -> Literal["folder", "file", "nowhere", "special"]:
    """What an entry is, links followed."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        os.stat(entry.path)
    except OSError:  # a link to nowhere, to itself, or to where one may not go
        return "nowhere"
    return "special"
