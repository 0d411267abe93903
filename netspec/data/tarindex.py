"""Where the files of a tar archive lie: one pass over its headers, by the standard library's tarfile."""

from __future__ import annotations

import posixpath
import tarfile
from pathlib import Path
from typing import NamedTuple

from netspec.errors import NetspecError

_BLOCK = 512
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}


class Member(NamedTuple):
    """One file of the archive: its path without ``./``, where its bytes start (-1: a link to nowhere), how many."""

    path: bytes
    offset: int
    size: int


class Index(NamedTuple):
    """An archive's files, links already followed, and its folders."""

    files: tuple[Member, ...]
    folders: tuple[bytes, ...]


def read_index(path: Path) -> Index:
    """List the archive; raises NetspecError where it cannot be opened, is no plain tar archive or is damaged."""
    try:
        with tarfile.open(path, "r:", encoding="utf-8", errors="surrogateescape") as archive:
            members = _members(path, archive)
            _refuse_early_end(path, archive.offset)
    except tarfile.TarError as error:
        raise NetspecError(f"{path}: {_why_unreadable(path)} ({error})") from error
    except OSError as error:
        raise NetspecError(f"{path}: cannot be read: {error}") from error
    except (ValueError, OverflowError, MemoryError, RecursionError) as error:  # of sizes and numbers that cannot be
        raise NetspecError(f"{path}: is no tar archive, or a damaged one ({error})") from error
    return _follow_links(members)


def _members(path: Path, archive: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """All members; raises NetspecError where a negative size leads back, which tarfile would follow for ever."""
    members: list[tarfile.TarInfo] = []
    for member in archive:
        if members and member.offset <= members[-1].offset:
            raise NetspecError(f"{path}: is damaged near byte {member.offset:,}")
        members.append(member)
    return members


def _plain(name: str) -> bytes:
    return posixpath.normpath(name).lstrip("/").encode("utf-8", "surrogateescape")


def _follow_links(members: list[tarfile.TarInfo]) -> Index:
    regular = [(_plain(member.name), member) for member in members if member.isreg() and not member.sparse]
    files = {path: Member(path, member.offset_data, member.size) for path, member in regular}
    for member in members:
        if member.islnk() or member.issym():
            # A symbolic link starts from its own folder, a hard link from the top. Neither ever leaves the archive.
            start = posixpath.dirname(posixpath.normpath(member.name)) if member.issym() else ""
            target = files.get(_plain(posixpath.join(start, member.linkname)), Member(b"", -1, 0))
            files[_plain(member.name)] = target._replace(path=_plain(member.name))
    return Index(tuple(files.values()), tuple(_plain(member.name) for member in members if member.isdir()))


def _refuse_early_end(path: Path, end: int) -> None:
    """Raise where the listing stopped early: tarfile takes a damaged header for the end of the archive."""
    with path.open("rb") as file:
        file.seek(end)
        if any(file.read(_BLOCK)):
            raise NetspecError(f"{path}: is damaged near byte {end:,}")


def _why_unreadable(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(8)
    tool = next((tool for magic, tool in _COMPRESSED.items() if start.startswith(magic)), None)
    if tool:
        return f"is compressed, and images are read by their place; run {tool} on it first"
    return "is no tar archive, or a damaged one"
