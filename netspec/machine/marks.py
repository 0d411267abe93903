"""What a process is doing, for whoever watches it from another one: a few bytes in a file that both have mapped."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from pathlib import Path

_SIZE = 4096
_HEAD = struct.Struct("<QI")
"""How many marks there were, and the bytes of the last one's text."""


class MarksFile:
    """A mapped file with the last mark; the process that writes and the one that reads open it by its path."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_SIZE))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)

    def write(self, text: str) -> None:
        """Put a mark in the place of the one before."""
        data = text.encode(errors="replace")[: _SIZE - _HEAD.size]
        self._map[_HEAD.size : _HEAD.size + len(data)] = data
        _HEAD.pack_into(self._map, 0, self.read()[0] + 1, len(data))

    def read(self) -> tuple[int, str]:
        """How many marks there were, and the text of the last one."""
        count, size = _HEAD.unpack_from(self._map, 0)
        return count, self._map[_HEAD.size : _HEAD.size + size].decode(errors="replace")


_file: MarksFile | None = None


def mark_in(file: MarksFile) -> None:
    """Have marks written from here on."""
    global _file
    _file = file


def mark(text: Callable[[], str]) -> None:
    """Say what comes next; the text is made only where somebody watches."""
    if _file is not None:
        _file.write(text())
