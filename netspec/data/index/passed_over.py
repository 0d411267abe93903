"""What a listing of images leaves out: counted by reason, and told in one line."""

from __future__ import annotations

from collections import Counter

from netspec.data.index.filenames import suffix_of
from netspec.errors import printable

HIDDEN = "hidden files and folders"
SYSTEM = "files and folders of the system"
NOWHERE = "links to nowhere"
ENCLOSING = "links to a folder that they lie in"
SPECIAL = "pipes, sockets and devices"
STRAY = "images outside of class folders"
UNNAMED = "images without a line in the list of their classes"
UNUSED = "lines of the list of classes without an image"
OUTSIDE = "names with '..' in them"
COVERED = "members that another one is in the way of"

_SUFFIXES_TOLD = 6


class PassedOver:
    """Counts of what was left out, with an example of each kind; files that are no images count by their suffix."""

    def __init__(self) -> None:
        self._suffixes: Counter[bytes] = Counter()
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, bytes] = {}

    def no_image(self, path: bytes) -> None:
        """Count a file by its suffix."""
        self._suffixes[suffix_of(path)] += 1

    def add(self, reason: str, path: bytes) -> None:
        """Count an entry by a reason; the first one by name is its example."""
        self._counts[reason] += 1
        self._examples[reason] = min(path, self._examples.get(reason, path))

    def __iadd__(self, other: PassedOver) -> PassedOver:
        """Add another listing's counts."""
        self._suffixes += other._suffixes
        self._counts += other._counts
        for reason, path in other._examples.items():
            self._examples[reason] = min(path, self._examples.get(reason, path))
        return self

    def line(self) -> str | None:
        """``passed over: 12 .txt, 1 without a suffix; hidden files and folders: 2 (train/.DS_Store, ...)``"""
        parts = [self._told_suffixes()] if self._suffixes else []
        parts += [f"{reason}: {self._told(reason)}" for reason in sorted(self._counts)]
        return f"passed over: {'; '.join(parts)}" if parts else None

    def _told_suffixes(self) -> str:
        common = sorted(self._suffixes.items(), key=lambda item: (-item[1], item[0]))[:_SUFFIXES_TOLD]
        told = [f"{count:,} {printable(suffix) or 'without a suffix'}" for suffix, count in common]
        rest = self._suffixes.total() - sum(count for _, count in common)
        return ", ".join(told) + (f", {rest:,} with others" if rest else "")

    def _told(self, reason: str) -> str:
        count = self._counts[reason]
        return f"{count:,} ({printable(self._examples[reason])}{', ...' if count > 1 else ''})"
