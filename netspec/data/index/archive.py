"""A tar archive as a tree of folders, files and links: one pass over its headers, by the standard library's tarfile.

What the tree holds is what ``tar -x`` would make of the archive: the last of two members with one name counts, a hard
link is what its target was at that point, and names with ``..`` are left out. Nothing ever leads out of the archive.
An archive within the archive is a folder called as it is, without its suffix: ILSVRC's training images are a tar of one
tar a class. Several archives, the shards of a set, are one tree.
"""

from __future__ import annotations

import os
import tarfile
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from netspec.data.index.passed_over import COVERED, OUTSIDE, PassedOver
from netspec.data.index.tree import Entry
from netspec.data.source import BrokenImage, check_size
from netspec.errors import NetspecError, printable
from netspec.machine.tasks import counted

_BLOCK = 512
_MOST_LINKS = 40
"""Links followed to find one file, as on Linux: more are links that lead in a circle."""
_VOLUME_LABEL, _DUMPED_FOLDER = b"V", b"D"
"""Types of GNU tar's own: no file, and a folder with a list of what it held. Others that tarfile lacks are files."""
_ARCHIVE = b".tar"
_COMPRESSED = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
    b"PK": "unzip",
}


class File(NamedTuple):
    """Where a file's bytes lie: their offset in the archive (-1: a link to nowhere) and how many they are.

    ``pieces``, of a sparse file only: (position, length) of what is stored, one after the other; zeros lie between.
    ``archive`` is the number of the archive, of several.
    """

    offset: int
    size: int
    pieces: tuple[tuple[int, int], ...] | None = None
    archive: int = 0


NOWHERE = File(-1, 0)


class Link(NamedTuple):
    """A symbolic link."""

    target: bytes


class Special:
    """A pipe or a device."""


class Folder:
    """A folder of the archive by its entries' names."""

    def __init__(self, parent: Folder | None) -> None:
        self.parent = parent
        self.entries: dict[bytes, Folder | File | Link | Special] = {}


class Nested(Folder):
    """An archive within the archive: its headers are read each time that its entries are asked for.

    So listing ILSVRC's training images takes the memory of one class.
    """

    def __init__(self, parent: Folder, read: Callable[[Nested], dict[bytes, Node]]) -> None:
        self.parent, self._read = parent, read

    @property
    def entries(self) -> dict[bytes, Node]:  # type: ignore[override]
        """What it holds."""
        return self._read(self)


Node = Folder | File | Link | Special


class Archive:
    """The tree of an archive, see netspec.data.index.tree; ``passed`` counts the members that have no place in it.

    Of several archives the trees are laid over one another. One without folders, among several, is a class of the name
    of its file, as in a folder of ILSVRC's training archives.
    """

    def __init__(self, path: Path, *more: Path) -> None:
        """Read the headers; raises NetspecError where it cannot be opened, is no plain tar archive or is damaged."""
        self.path, self.top, self.passed = path, Folder(None), PassedOver()
        self.paths = (path, *more)
        for number, each in enumerate(self.paths):
            top = self.top
            if more and _without_folders(each):
                top = _make_folders(top, [os.fsencode(each.stem)]) or Folder(None)
            for member in counted("finding images", _members(each), 0):
                self._add(top, member, number)

    def entries(self, folder: Folder) -> Iterator[Entry]:
        """What lies in a folder, links followed."""
        for name, node in folder.entries.items():
            found = follow(folder, (name,)) if isinstance(node, Link) else node
            match found:
                case Folder():
                    yield Entry(name, "folder", found)
                case File():
                    yield Entry(name, "nowhere" if found is NOWHERE else "file", found)
                case _:
                    yield Entry(name, "special", None)

    def identity(self, folder: Folder) -> Hashable:
        """The folder itself."""
        return folder

    def enclosing(self, folder: Folder) -> Sequence[Hashable]:
        """Its parents up to the archive's top."""
        parents: list[Folder] = []
        while folder.parent is not None:
            folder = folder.parent
            parents.append(folder)
        return parents

    def read(self, file: File) -> bytes:
        """The bytes of a file; raises BrokenImage or OSError."""
        handle = open_archive(self.paths[file.archive])
        try:
            return read_file(handle, file)
        finally:
            os.close(handle)

    def _add(self, top: Folder, member: tarfile.TarInfo, number: int, nested: bool = False) -> None:
        name = _bytes(member.name)
        *above, last = [part for part in name.split(b"/") if part not in (b"", b".")] or [b""]
        if b".." in (*above, last):
            self.passed.add(OUTSIDE, name)
        elif last and member.type != _VOLUME_LABEL:
            folder = _make_folders(top, above)
            if folder is not None and member.isreg() and last.endswith(_ARCHIVE) and not nested:
                last = last.removesuffix(_ARCHIVE)
                place = (number, member.offset_data, member.size)
                node: Node = Nested(folder, partial(self._nested, *place))
            else:
                node = self._node(top, folder, member, number)
            if folder is None or not _put(folder, last, node):
                self.passed.add(COVERED, name)

    def _nested(self, number: int, start: int, size: int, folder: Folder) -> dict[bytes, Node]:
        inner = Folder(folder.parent)
        for member in _members(self.paths[number], start, size):
            self._add(inner, member, number, nested=True)
        return inner.entries

    def _node(self, top: Folder, folder: Folder | None, member: tarfile.TarInfo, number: int) -> Node:
        if member.isdir() or member.type == _DUMPED_FOLDER:
            return Folder(folder)
        if member.issym():
            return Link(_bytes(member.linkname))
        if member.islnk():  # from the archive's top; to a folder there can be none
            found = follow(top, _bytes(member.linkname).lstrip(b"/").split(b"/"))
            return NOWHERE if isinstance(found, Folder) else found
        if member.isdev():
            return Special()
        pieces: Any = member.sparse
        return File(member.offset_data, member.size, None if pieces is None else tuple(pieces), number)


def _bytes(name: str) -> bytes:
    """A name as it stands in the archive."""
    return name.encode("utf-8", "surrogateescape")


def _make_folders(folder: Folder, names: Sequence[bytes]) -> Folder | None:
    """The folder of that path below ``folder``, made where it is not there; None where a file is in the way."""
    for name in names:
        found = folder.entries.get(name) or folder.entries.setdefault(name, Folder(folder))
        found = follow(folder, (name,)) if isinstance(found, Link) else found
        if not isinstance(found, Folder):
            return None
        folder = found
    return folder


def _put(folder: Folder, name: bytes, node: Node) -> bool:
    """Enter a node in place of an earlier one; False where that is a folder with something in it, which stays."""
    there = folder.entries.get(name)
    if isinstance(there, Folder) and (isinstance(node, Folder) or there.entries):
        return isinstance(node, Folder)
    folder.entries[name] = node
    return True


def follow(folder: Folder, parts: Sequence[bytes]) -> Folder | File | Special:
    """What a path leads to, as a file system would find it; NOWHERE for one that leaves the archive."""
    pending, links = deque(parts), 0
    while pending:
        part = pending.popleft()
        if part in (b"", b"."):
            continue
        node = folder.parent if part == b".." else folder.entries.get(part)
        if isinstance(node, Link):
            links += 1
            if links > _MOST_LINKS or node.target.startswith(b"/"):
                return NOWHERE
            pending.extendleft(reversed(node.target.split(b"/")))
        elif isinstance(node, Folder):
            folder = node
        else:
            return NOWHERE if node is None or pending else node
    return folder


def _without_folders(path: Path) -> bool:
    """Whether the first member is a file at the archive's top."""
    first = next(_members(path), None)
    return first is not None and first.isreg() and "/" not in first.name.removeprefix("./")


def _members(path: Path, start: int = 0, size: int | None = None) -> Iterator[tarfile.TarInfo]:
    """The members in order, of the archive or of one of so many bytes within it.

    Raises NetspecError for what is wrong with it.
    """
    limit = None if size is None else start + size
    try:
        with path.open("rb") as file:
            file.seek(start)
            archive: Any = tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape")
            last = -1
            while member := archive.next():
                archive.members = []  # else it keeps every header that it has read
                if member.offset <= last:  # a negative size, which tarfile would follow in a circle
                    raise _damaged(path, member.offset)
                if limit is not None and member.offset_data + member.size > limit:
                    raise _damaged(path, member.offset)
                last = member.offset
                yield member
            _refuse_early_end(path, archive.offset, limit)
    except NetspecError:
        raise
    except tarfile.TarError as error:
        raise NetspecError(f"{printable(path)}: {_why_unreadable(path)} ({error})") from error
    except OSError as error:
        raise NetspecError(f"{printable(path)}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # tarfile raises nearly anything for sizes and numbers that cannot be
        raise NetspecError(f"{printable(path)}: is no tar archive, or a damaged one ({error})") from error


def _damaged(path: Path, offset: int) -> NetspecError:
    return NetspecError(f"{printable(path)}: is damaged near byte {offset:,}")


def _refuse_early_end(path: Path, end: int, limit: int | None) -> None:
    """Raise where the listing stopped early: tarfile takes a damaged header for the end of the archive.

    One within another, which lasts to ``limit``, may end without a block of zeros.
    """
    if limit is not None and end >= limit:
        return
    with path.open("rb") as file:
        file.seek(end)
        if any(file.read(_BLOCK)):
            raise _damaged(path, end)


def _why_unreadable(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(8)
    tool = next((tool for magic, tool in _COMPRESSED.items() if start.startswith(magic)), None)
    if tool:
        return f"is compressed, and images are read by their place; run {tool} on it first"
    return "is no tar archive, or a damaged one"


def open_archive(path: Path) -> int:
    """A descriptor to read an archive by; raises OSError."""
    return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))


def read_file(handle: int, file: File) -> bytes:
    """A file's bytes; raises BrokenImage for a link to nowhere, and where the archive has shrunk."""
    if file.offset < 0:
        raise BrokenImage("a link to something that is not in the archive")
    check_size(file.size)
    if file.pieces is None:
        return _read(handle, file.size, file.offset)
    content, end, at = bytearray(file.size), 0, file.offset
    for position, length in file.pieces:
        if length:
            if not end <= position <= position + length <= file.size:
                raise BrokenImage("a sparse file whose pieces do not fit")
            content[position : position + length] = _read(handle, length, at)
            end, at = position + length, at + length
    return bytes(content)


def _read(handle: int, size: int, offset: int) -> bytes:
    content = os.pread(handle, size, offset)
    if len(content) < size:
        raise BrokenImage("the archive ends within it")
    return content
